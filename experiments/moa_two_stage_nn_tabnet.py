"""MoA, 1st place: the two-stage model, a TabNet on the measurements and the predictions of non-scored targets.

All folds and seeds of ``moa_nonscored_nn_pca`` are trained first where they are not finished.
"""

from dataclasses import replace

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import ONE_CYCLE, moa, score
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.moa.settings import TabNetModel

EXPERIMENT = moa(
    "moa_two_stage_nn_tabnet",
    TabNetModel(),
    MoaData(
        features=(
            "rank_gauss", "factor_analysis:genes=90,cells=50", "kmeans:genes=35,cells=5", "row_statistics", "codes",
            "meta_rank_gauss",
        ),
        feature_seed=42,
    ),
    demo={
        "data.features": [
            "rank_gauss", "factor_analysis:genes=20,cells=5", "kmeans:genes=10,cells=5", "row_statistics", "codes",
            "meta_rank_gauss",
        ],
        "epochs": 30, "batch_size": 256, "train.patience": 0,
    },
    epochs=200,
    batch_size=1024,
    lr=2e-2,
    optim=replace(ONE_CYCLE, schedule="multi_step", milestones=(100, 150), gamma=0.9),
    train=Train(grad_clip=1.0, patience=50, checkpoint_every=0),
    published=(
        score(0.016155, "old-CV log loss NC, 10 folds, 3 seeds"),
        score(0.01625, "private leaderboard"),
    ),
    previous="moa_nonscored_nn_pca",
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
