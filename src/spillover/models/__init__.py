"""The only door to torch, transformers and peft: sources, loading, chat rendering, a tiny test model."""
