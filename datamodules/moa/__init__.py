"""Mechanisms of Action (Kaggle ``lish-moa``): gene expression and cell viability to 206 binary targets."""
