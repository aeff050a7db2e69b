"""LEAP, 1st place: twelve-block Squeezeformer on several representations of the column, with a confidence head.

The thirteen models of the solution's blend are YAML files in experiments/presets/leap_squeezeformer: --config FILE.
"""

from datamodules.leap.settings import LeapData
from experiments.domains.leap.domain import LEAP
from experiments.engine.declare import Experiment, Published
from experiments.engine.runner import main
from lit_modules.leap.settings import Squeezeformer
from lit_modules.settings import Optim

WRITE_UP = "shlomoron/LEAP-solution, write-up"

EXPERIMENT = Experiment(
    name="leap_squeezeformer",
    domain=LEAP,
    task="lit_modules.leap.squeezeformer_task:SqueezeformerTask",
    model=Squeezeformer(),
    data=LeapData(),
    # weight decay 4 * lr, and a half cosine that is evaluated ten times an epoch
    optim=Optim(weight_decay_per_lr=4.0, sub_epochs=10),
    epochs=3,
    batch_size=512,
    lr=1e-3,
    demo={
        "model.dim": 32,
        "model.head": 64,
        "model.blocks": 2,
        "epochs": 3,
        "batch_size": 256,
        "lr": 3e-3,
    },
    published=(
        Published(0.78895, "public leaderboard R2 of these settings (private 0.78599)", WRITE_UP),
        Published(0.79159, "public leaderboard R2 of the best preset, 0p0-5e-nospacetime (private 0.78869)", WRITE_UP),
        Published(0.79410, "public leaderboard R2 of the blend of all thirteen presets (private 0.79123)", WRITE_UP),
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
