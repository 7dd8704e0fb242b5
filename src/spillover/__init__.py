"""spillover: how far narrow fine-tuning spills over into broad misalignment, and what shapes it."""

__version__ = "0.1.0"
