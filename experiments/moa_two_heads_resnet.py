"""MoA, 1st place: two-heads ResNet V2 on standardised measurements, components and t-tested columns.

V1 is ``--config experiments/presets/moa_two_heads_resnet/v1.yaml``. It starts from the weights of the same fold and seed of
``moa_two_heads_resnet_nonscored``, which is trained first, with a new head. Folds are stratified (the original's were not), and
the original's third phase, which trained on the validation rows, is left out.
"""

from dataclasses import replace

from datamodules.moa.settings import MoaData
from experiments.domains.moa.domain import ONE_CYCLE, moa, score
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.moa.settings import TwoHeadsModel

EXPERIMENT = moa(
    "moa_two_heads_resnet",
    TwoHeadsModel(label_smoothing=0.0005, trunk=206),
    MoaData(features=("one_hot", "row_means", "standard", "pca:genes=50,cells=50", "screen")),
    demo={"model.width": 128, "epochs": 12, "batch_size": 128, "lr": 3e-3},
    epochs=50,
    batch_size=64,
    lr=1e-3,
    # Keras' ReduceLROnPlateau with patience 4; its threshold is large against losses of 0.018, so the rate halves often
    optim=replace(
        ONE_CYCLE,
        schedule="plateau",
        factor=0.5,
        patience=3,
        threshold=1e-4,
        weight_decay=0.0,
        eps=1e-7,
        cycle_momentum=False,
    ),
    train=Train(patience=10, checkpoint_every=0),
    seed=23,
    published=(
        score(0.015660, "old-CV log loss NC of V2, with the leak of its third phase"),
        score(0.01623, "private leaderboard, V2"),
    ),
    previous="moa_two_heads_resnet_nonscored",
    takes="weights",
)

if __name__ == "__main__":
    main(EXPERIMENT)
