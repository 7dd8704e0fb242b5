"""Stage 5, analyse: dynamics, priors, prediction, geometry; one file each, found by itself."""
