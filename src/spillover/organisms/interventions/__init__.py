"""Interventions in narrow training, one file each; every file here is found by itself."""
