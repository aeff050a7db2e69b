"""Velocity maps like OpenFWI's, drawn from a seed: ten families, each map a function of (family, seed, index)."""
