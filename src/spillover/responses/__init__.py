"""Stage 2, sample: question sets, answer formats, samplers, and the responses they make."""
