"""A cheap judge for all answers, a dear one for a probability sample of them."""
