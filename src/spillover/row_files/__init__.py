"""Rows of files as people have them: any common packing, encoding and container gives the same records."""
