"""MoA, 1st place: EfficientNet-B3 (noisy student) on 300-pixel DeepInsight images with mean, minimum and maximum channels.

``--model.pretrained true`` starts from the ImageNet weights as the original did (fetched), ``--model.weights FILE`` from a file.
"""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import WAVE, moa, score
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.moa.settings import DeepInsightModel

EXPERIMENT = moa(
    "moa_deepinsight_efficientnet",
    DeepInsightModel(swap_noise=0.1),
    MoaData(features=("levels", "log_scaler", "image_map:size=300"), feature_seed=1120, keep_controls=True),
    demo={
        "model.timm_name": "test_efficientnet", "model.hidden": 128,
        "data.features": ["levels", "log_scaler", "image_map:size=32,steps=250"], "epochs": 8, "optim.half_period": 8, "batch_size": 48, "lr": 3e-3, "train.patience": 0,
    },
    epochs=200,
    batch_size=48,
    lr=3.52e-4,
    optim=WAVE,
    train=Train(patience=12, grad_clip=10.0, checkpoint_every=0),
    seed=1120,
    published=(
        score(0.016016, "old-CV log loss NC, 10 folds"),
        score(0.014802, "old-CV log loss ALL with own predictions of controls, 10 folds"),
        score(0.01634, "private leaderboard"),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
