"""The tables of docs/results.md: YAML files of runs, and what makes them."""
