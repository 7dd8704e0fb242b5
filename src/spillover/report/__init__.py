"""Stage 6, report: one page that opens without network, its tables and figures beside it."""
