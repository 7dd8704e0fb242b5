"""Training sets: those that ship, and a user's own file; a file added here is found by itself."""
