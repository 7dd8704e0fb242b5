"""Learning-rate schedules: what a schedule is, and those that ship; a file added here is found by itself."""
