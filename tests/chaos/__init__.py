"""Faults of every kind on a tiny study, again and again: `python -m chaos` (tests on the path)."""
