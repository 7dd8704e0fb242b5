"""Rubrics: our own texts, one file a metric, and those in published YAML; every kind here is found by itself."""
