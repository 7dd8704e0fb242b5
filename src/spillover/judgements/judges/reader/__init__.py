"""The reading judge: a language model with a small fitted part; its weights and card lie beside it."""
