"""Folders of memory-mapped arrays."""
