"""3 judge: what an answer is worth, by a judge that says who it is."""
