"""Synthetic ClimSim files: real climate statistics, a fixed random net for the physics, the raw CDF-5 schema.

They let everything run without a download: the same reader, split, training and submission as real files. R2 on them is
not comparable with any leaderboard; ``demo.json`` beside the files says how high it can get.
"""

from datamodules.leap.demo.command import demo_main
from datamodules.leap.demo.kaggle import write_kaggle_files
from datamodules.leap.demo.spec import GENERATOR_VERSION, DemoSpec
from datamodules.leap.demo.write import generate, read_info

__all__ = ["GENERATOR_VERSION", "DemoSpec", "demo_main", "generate", "read_info", "write_kaggle_files"]
