"""Judged answers in files that others made: rows read one by one, columns, who judged, and the artefact of a file."""
