"""MoA baseline: logistic regression on rank-transformed measurements, what a net must beat to be worth training."""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import ONE_CYCLE, moa
from experiments.engine.runner import main
from lit_modules.moa.settings import LogisticModel

EXPERIMENT = moa(
    "moa_logistic",
    LogisticModel(),
    MoaData(features=("rank_gauss", "one_hot")),
    demo={"epochs": 12},
    epochs=20,
    batch_size=128,
    lr=2e-3,
    optim=ONE_CYCLE,
)

if __name__ == "__main__":
    main(EXPERIMENT)
