"""Who draws answers, one file each."""
