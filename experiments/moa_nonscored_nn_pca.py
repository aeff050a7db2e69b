"""MoA, 1st place: stage 1 of the two-stage NN and TabNet, on the targets that the judge does not score.

Its score is of those targets, never the competition's. The UMAP features need umap-learn.
"""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import moa, score
from experiments.engine.runner import main
from lit_modules.moa.settings import MLPModel

EXPERIMENT = moa(
    "moa_nonscored_nn_pca",
    MLPModel(hidden=(2048,), dropout=(0.2, 0.25), activation="relu", label_smoothing=0.0),
    MoaData(
        features=("rank_gauss", "pca:genes=50,cells=15", "umap:genes=15,cells=5", "variance_threshold:above=0.5", "one_hot"),
        feature_seed=512,
        targets="nonscored",
    ),
    demo={
        "data.features": ["rank_gauss", "pca:genes=50,cells=15", "variance_threshold:above=0.5", "one_hot"],
        "model.hidden": [128], "epochs": 12, "batch_size": 128,
    },
    epochs=15,
    batch_size=256,
    lr=1e-2,
    published=(score(0.004453, "non-scored log loss ALL, row folds, 10 folds, 5 seeds"),),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
