"""LEAP baseline: the training mean of every target, post-processed, with a bank like any other's."""

from dataclasses import replace

from experiments.engine.runner import main
from experiments.leap_ridge import EXPERIMENT as RIDGE

EXPERIMENT = replace(RIDGE, name="leap_zeros", task="lit_modules.leap.ridge:ZerosTask")

if __name__ == "__main__":
    main(EXPERIMENT)
