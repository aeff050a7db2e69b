"""MoA, 1st place: the three-stage NN, the winners' best single net. Stage 3 reads stage 2's predictions and nothing else.

All folds and seeds of ``moa_nonscored_nn`` and ``moa_meta_nn`` are trained first where they are not finished. All stages
share one fold table; the source's stages had different ones, so that its stage 3 had seen some of the held-out labels.
"""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import moa, score
from experiments.engine.runner import main
from lit_modules.moa.settings import MLPModel

EXPERIMENT = moa(
    "moa_three_stage_nn",
    MLPModel(hidden=(1024, 1024), dropout=(0.15, 0.30, 0.25), label_smoothing=0.001),
    MoaData(features=("meta_rank_gauss:only=1",), feature_seed=1903),
    demo={"model.hidden": [128, 128], "epochs": 12, "batch_size": 128},
    epochs=25,
    batch_size=256,
    lr=1e-2,
    published=(
        score(0.015606, "old-CV log loss NC, 5 folds, 5 seeds"),
        score(0.015461, "old-CV log loss NC, 10 folds, 5 seeds"),
        score(0.01618, "private leaderboard"),
    ),
    previous="moa_meta_nn",
)

if __name__ == "__main__":
    main(EXPERIMENT)
