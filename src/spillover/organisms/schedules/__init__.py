"""Learning-rate schedules, one file each; every file here is found by itself."""
