"""Banks joined row by row."""
