"""Studies that come with the package, each run by its name: `spillover run quickstart`. Choices, not library."""
