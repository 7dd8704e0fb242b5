"""Good inputs changed at random, read by all that reads what others wrote: `python -m fuzz` (tests on the path)."""
