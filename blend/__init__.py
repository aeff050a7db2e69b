"""Saved predictions to aligned banks, to weights, to one blended submission."""
