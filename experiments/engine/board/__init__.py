"""A board of runs: what is under a folder of runs as one table, in the terminal or as a static site."""
