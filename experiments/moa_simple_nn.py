"""MoA, 1st place: the simple NN, in its new-CV form (drug folds, 1,032 features).

The old-CV form (row folds, 60 k-means columns) is ``--config experiments/presets/moa_simple_nn/row_folds.yaml``: 1,092
features, because the source's slice that lost the first gene is not repeated.
"""

from dataclasses import replace

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import ONE_CYCLE, moa, score
from experiments.engine.runner import main
from lit_modules.moa.settings import MLPModel

EXPERIMENT = moa(
    "moa_simple_nn",
    MLPModel(hidden=(2048, 2048), dropout=(0.0, 0.25, 0.25)),
    MoaData(
        features=(
            "rank_gauss", "factor_analysis:genes=90,cells=50", "rank_gauss:all=1", "row_statistics:sum=1", "one_hot",
        ),
        feature_seed=1903,
    ),
    demo={"model.hidden": [128, 128], "epochs": 12, "batch_size": 128},
    epochs=25,
    batch_size=128,
    lr=1e-2,
    optim=replace(ONE_CYCLE, pct_start=0.1),
    seed=940,
    published=(
        score(0.01566, "drug-CV log loss ALL, 6 seeds"),
        score(0.01622, "private leaderboard, new CV"),
        score(0.015846, "old-CV log loss NC"),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
