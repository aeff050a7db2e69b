"""MoA, 1st place: stage 1 of the three-stage NN, on the targets that the judge does not score (331 in the competition).

Its score is of those targets, never the competition's. The UMAP features need umap-learn.
"""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import moa, score
from experiments.engine.runner import main
from lit_modules.moa.settings import MLPModel

EXPERIMENT = moa(
    "moa_nonscored_nn",
    MLPModel(hidden=(2048, 2048), dropout=(0.15, 0.30, 0.25), label_smoothing=0.001),
    MoaData(
        # factors and UMAP see the raw measurements and stay as they are
        features=("factor_analysis:genes=90,cells=50", "umap:genes=45,cells=25", "rank_gauss", "one_hot"),
        feature_seed=1903,
        targets="nonscored",
    ),
    demo={
        "data.features": ["factor_analysis:genes=20,cells=5", "rank_gauss", "one_hot"],
        "model.hidden": [128, 128], "epochs": 12, "batch_size": 128,
    },
    epochs=15,
    batch_size=256,
    lr=1e-2,
    published=(score(0.00483, "non-scored log loss ALL, row folds, 5 seeds"),),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
