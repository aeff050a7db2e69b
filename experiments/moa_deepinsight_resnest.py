"""MoA, 1st place: ResNeSt-50 fast on 224-pixel DeepInsight images, V2 (dropout 0.2 before the head).

V1 is ``--model.head_dropout 0``. ``--model.weights resnest50_fast_2s2x40d-9d126481.pth`` starts from the original ImageNet weights.
"""

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import WAVE, moa, score
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.moa.settings import DeepInsightModel

EXPERIMENT = moa(
    "moa_deepinsight_resnest",
    DeepInsightModel(backbone="resnest50_fast", head_dropout=0.2, swap_noise=0.1),
    MoaData(features=("levels", "log_scaler", "image_map:size=224"), feature_seed=1120, keep_controls=True),
    demo={
        "model.layers": [1, 1, 1, 1], "model.channels": [16, 32, 64, 128], "model.hidden": 128,
        "data.features": ["levels", "log_scaler", "image_map:size=32,steps=250"], "epochs": 8, "optim.half_period": 8, "batch_size": 48, "lr": 3e-3, "train.patience": 0,
    },
    epochs=200,
    batch_size=128,
    lr=3.52e-4,
    optim=WAVE,
    train=Train(patience=16, grad_clip=10.0, checkpoint_every=0),
    seed=1120,
    published=(
        score(0.015756, "old-CV log loss NC of V2, 10 folds"),
        score(0.015819, "old-CV log loss NC of V1, 10 folds"),
        score(0.01636, "private leaderboard"),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
