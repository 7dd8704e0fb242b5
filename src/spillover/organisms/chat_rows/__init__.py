"""Training rows as people have them: turns, layouts of rows, and what was read and what was not."""
