"""The release of What Shapes Emergent Misalignment? (aisa-group/em-generalization): read, imported, reproduced."""
