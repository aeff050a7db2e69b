"""GWI, 4th place: which of the ten families a map belongs to, told from maps that imitate predictions.

Blends take other weights, and post-processing other steps, for other families; the families of test maps are not given. Needs
maps only (``gwi_generate.py --gathers none``), and learns from a net's own predictions with ``--data.predicted``. ``predict.py --run RUN --input BANK`` names the families of predicted maps.
"""

from datamodules.gwi.settings import FamilyMaps
from experiments.domains.gwi.domain import GWI_FAMILY
from experiments.engine.declare import Experiment
from experiments.engine.runner import main
from lit_modules.gwi.settings import FamilyNet
from lit_modules.settings import Optim

EXPERIMENT = Experiment(
    name="gwi_family",
    domain=GWI_FAMILY,
    task="lit_modules.gwi.family_task:FamilyTask",
    model=FamilyNet(),
    data=FamilyMaps(),
    optim=Optim(weight_decay_per_lr=4.0),
    epochs=10,
    batch_size=512,
    lr=1e-3,
    demo={
        "model.dim": 64,
        "model.blocks": 2,
        "model.head_dim": 64,
        "model.norm_momentum": 0.1,
        "epochs": 5,
        "batch_size": 32,
        "lr": 3e-3,
    },
)

if __name__ == "__main__":
    main(EXPERIMENT)
