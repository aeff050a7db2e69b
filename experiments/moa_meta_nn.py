"""MoA, 1st place: stage 2 of the three-stage NN, the scored targets from the measurements and stage 1's predictions.

All folds and seeds of ``moa_nonscored_nn`` are trained first where they are not finished. The UMAP features need umap-learn.
"""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import moa, score
from experiments.engine.runner import main
from lit_modules.moa.settings import MLPModel

EXPERIMENT = moa(
    "moa_meta_nn",
    MLPModel(hidden=(2048, 2048), dropout=(0.15, 0.30, 0.25), label_smoothing=0.0),
    MoaData(
        features=(
            "factor_analysis:genes=90,cells=50", "umap:genes=45,cells=25", "rank_gauss", "one_hot", "meta_rank_gauss",
        ),
        feature_seed=1903,
    ),
    demo={
        "data.features": ["factor_analysis:genes=20,cells=5", "rank_gauss", "one_hot", "meta_rank_gauss"],
        "model.hidden": [128, 128], "epochs": 12, "batch_size": 128,
    },
    epochs=25,
    batch_size=256,
    lr=1e-2,
    published=(score(0.01431, "old-CV log loss ALL, 5 folds, 5 seeds"),),
    previous="moa_nonscored_nn",
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
