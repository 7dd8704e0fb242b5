"""Stage 1, train: narrow data, schedules, tuning, and the organisms they make."""
