"""Forward passes written for sampling, scoring and capture: a row cache, packed weights, adapters side by side."""
