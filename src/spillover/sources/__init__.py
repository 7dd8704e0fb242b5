"""Results that others published, read into the rows and artefacts that our own studies make. Knows formats only."""
