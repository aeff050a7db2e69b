"""Synthetic GC-MS runs in the competition's schema, so that everything runs without its data."""

from datamodules.mars.demo.write import DemoSpec, generate

__all__ = ["DemoSpec", "generate"]
