"""Directions in activation space, a kind a file."""
