"""MoA, 1st place: phase 1 of the two-heads ResNet, on the targets that the judge does not score.

The source's 402 outputs include 71 targets without a positive, which are left out here. Its score is of the non-scored
targets, never the competition's.
"""

from dataclasses import replace

from experiments.engine.declare import Experiment
from experiments.engine.runner import main
from experiments.moa_two_heads_resnet import EXPERIMENT as SCORED

# phase 2 takes the weights, so everything but the targets is the same
EXPERIMENT: Experiment = replace(
    SCORED,
    name="moa_two_heads_resnet_nonscored",
    place="",  # here, not where it is taken from
    data=replace(SCORED.data, targets="nonscored"),
    published=(),
    previous="",
)

if __name__ == "__main__":
    main(EXPERIMENT)
