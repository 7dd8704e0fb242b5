"""Stage 4, capture: what the residual stream holds after every layer, for prompts alone."""
