"""Asking services over a network, whoever asks: one call, how fast, and what each way for it to fail means."""
