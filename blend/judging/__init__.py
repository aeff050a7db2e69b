"""Scores of blends, nested and in-sample, and post-processing."""
