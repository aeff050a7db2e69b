"""What ``python -m blend`` does."""
