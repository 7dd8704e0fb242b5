"""Importers, one file each: results that others published, as the artefacts that our own studies make."""
