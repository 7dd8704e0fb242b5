"""The paper's numbers out of its own released files, cell by cell. Knows the release's tables; `maths` computes."""
