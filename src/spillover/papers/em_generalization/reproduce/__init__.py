"""The paper's numbers out of its own released files, cell by cell."""
