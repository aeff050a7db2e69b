"""Benchmarks: each prints the ratio to an honest rival in the same run."""
