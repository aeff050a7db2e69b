"""Metrics as sums, matrices and cells."""
