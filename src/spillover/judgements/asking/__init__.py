"""Asking a judge over the network: what is kept, what it costs, how fast, what a reply says, what a fault means."""
