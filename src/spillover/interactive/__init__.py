"""spillover from Python, by hand: a store that makes what it loads, progress on a terminal or in a notebook."""
