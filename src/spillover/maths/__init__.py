"""The estimands, intervals and tests: arrays in, frozen results out. Knows no model, file, table or plot."""
