"""MoA: the 1D-CNN of the 2nd place trained on the targets that the judge does not score.

An optional first phase: ``python experiments/moa_soft_ordering_cnn.py --init_from RUN`` starts from this run's weights with a
new head. The score is of the non-scored targets, never the competition's.
"""

from dataclasses import replace

from experiments.engine.declare import Experiment
from experiments.engine.runner import main
from experiments.moa_soft_ordering_cnn import EXPERIMENT as SCORED

EXPERIMENT: Experiment = replace(
    SCORED,
    name="moa_soft_ordering_cnn_nonscored",
    place="",  # here, not where it is taken from
    data=replace(SCORED.data, targets="nonscored"),
    published=(),
)

if __name__ == "__main__":
    main(EXPERIMENT)
