"""MoA, 2nd place: 1D-CNN on a learned order of the features, the best single model of the competition.

Positives of frequent targets weigh less, as in the source. Its pre-training on 33 non-scored targets is left out. Controls as noise
(3rd place) are an option of every net: ``--model.control_pairs 3``.
"""

from dataclasses import replace

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import ONE_CYCLE, moa
from experiments.engine.declare import Published
from experiments.engine.runner import main
from lit_modules.moa.settings import SoftOrderingModel

EXPERIMENT = moa(
    "moa_soft_ordering_cnn",
    SoftOrderingModel(rare_weight=True),
    MoaData(features=("row_normalise", "rank_gauss", "pca:genes=50,cells=15")),
    demo={"model.channels": 64, "model.width": 64, "epochs": 12, "batch_size": 128, "lr": 1e-2},
    epochs=25,
    batch_size=128,
    lr=5e-3,
    optim=replace(ONE_CYCLE, pct_start=0.1),
    published=(
        Published(0.01672, "drug-CV log loss NC", "write-up of the 2nd place"),
        Published(0.01601, "private leaderboard", "write-up of the 2nd place"),
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
