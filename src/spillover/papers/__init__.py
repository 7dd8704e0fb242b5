"""Releases of papers: their published results read, and their numbers computed again; one folder a paper."""
