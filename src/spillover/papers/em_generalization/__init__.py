"""The released tree of the paper (aisa-group/em-generalization): names, files, runs. Nothing else reads its names."""
