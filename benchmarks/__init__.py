"""Side by side against peers: one file each, found by its name."""
