"""Interventions in narrow training that act on activations; a file added here is found by itself."""
