"""Exports and hooks for other people's tools: transformers' Trainer and trl, the hub's model cards, inspect."""
