"""MoA, 1st place: two-heads ResNet V2 on standardised measurements, components and t-tested columns.

V1 is ``--config experiments/presets/moa_two_heads_resnet/v1.yaml``. Folds are stratified (the original's were not), and the
original's third phase, which trained on the validation rows, is left out; its first phase, on the non-scored targets, too.
"""

from dataclasses import replace

from datamodules.moa.settings import MoaData
from experiments.moa_domain import ONE_CYCLE, moa, score
from experiments.runner import main
from lit_modules.moa.settings import TwoHeadsModel

EXPERIMENT = moa(
    "moa_two_heads_resnet",
    TwoHeadsModel(label_smoothing=0.0005),
    MoaData(features=("one_hot", "row_means", "standard", "pca:genes=50,cells=50", "screen")),
    demo={"model.width": 128, "epochs": 12, "batch_size": 128, "lr": 3e-3},
    epochs=50,
    batch_size=64,
    lr=1e-3,
    optim=replace(ONE_CYCLE, schedule="cosine", cycle_momentum=False, weight_decay=0.0, eps=1e-7),
    seed=23,
    published=(
        score(0.015660, "old-CV log loss NC of V2, with the leak of its third phase"),
        score(0.01623, "private leaderboard, V2"),
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
