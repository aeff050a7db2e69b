"""MoA, 1st place: the TabNet of the two-stage model, on the measurements alone (without the first stage's predictions)."""

from dataclasses import replace

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import ONE_CYCLE, moa
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.moa.settings import TabNetModel

EXPERIMENT = moa(
    "moa_tabnet",
    TabNetModel(),
    MoaData(
        features=(
            "rank_gauss", "factor_analysis:genes=90,cells=50", "kmeans:genes=35,cells=5", "row_statistics", "codes",
        ),
        feature_seed=42,
    ),
    demo={"epochs": 30, "batch_size": 256, "train.patience": 0},
    epochs=200,
    batch_size=1024,
    lr=2e-2,
    optim=replace(ONE_CYCLE, schedule="multi_step", milestones=(100, 150), gamma=0.9),
    train=Train(grad_clip=1.0, patience=50, checkpoint_every=0),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
