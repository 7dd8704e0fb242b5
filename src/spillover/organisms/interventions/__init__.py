"""Interventions in narrow training; a file added here is found by itself."""
