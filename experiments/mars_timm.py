"""Mars, 2nd place: GC-MS images of random width, a timm backbone with all layers trained, AdamW.

The run configurations of the solution (301 to 313, in the log scalings 3a and 3c) are YAML files in
experiments/presets/mars_timm: --config FILE, with --model.backbone and --seed of its lists of models.
"""

from datamodules.mars.settings import MarsData
from experiments.domains.mars.domain import MARS, score
from experiments.engine.declare import Experiment
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.mars.settings import MarsModel
from lit_modules.settings import Optim

EXPERIMENT = Experiment(
    name="mars_timm",
    domain=MARS,
    task="lit_modules.mars.task:MarsTask",
    model=MarsModel(),
    data=MarsData(),
    optim=Optim(weight_decay=0.01, warmup=0.1),  # 2 of 20 epochs
    train=Train(grad_clip=64.0),
    epochs=20,
    batch_size=8,
    lr=1e-4,
    demo={
        "data.t_bins": 64,
        "model.backbone": "test_efficientnet",
        "model.head": "flatM",
        "model.pretrained": False,
        "model.normalise": "none",
        "model.mixup": 0.2,
        "model.tta_step": 16,
        "model.tta_steps": 3,
        "optim.weight_decay": 0.05,
        "epochs": 45,
        "lr": 8e-3,
    },
    published=(
        score(0.08631, "out-of-fold log loss of the blend of eleven models"),
        score(0.1485, "private leaderboard log loss of the same blend"),
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
