"""spillover's own sampling loop: an answer depends on its key alone, bit for bit (docs/sampling.md)."""
