"""What the nets of "Crowdsourcing the Frontier" share (arXiv:2511.20963): their training, and small sizes for demos."""

from __future__ import annotations

from typing import Any

from datamodules.leap.settings import LeapData
from experiments.domains.leap.domain import LEAP
from experiments.engine.declare import Experiment
from lit_modules.leap.online_settings import OnlineModel
from lit_modules.settings import Optim

_DEMO: dict[str, Any] = {"epochs": 6, "batch_size": 256, "lr": 3e-3, "optim.schedule": "cosine"}


def online_net(name: str, model: OnlineModel, demo: dict[str, Any]) -> Experiment:
    """An experiment with the paper's optimiser: AdamW, 12 epochs, the learning rate falls to 5 % every three.

    The paper reports no offline R2 that these rows could be set beside.

    Args:
        name: Name of the experiment file.
        model: Net settings.
        demo: Settings of the reduced net, such as ``model.width``.
    """
    return Experiment(
        name=name,
        domain=LEAP,
        task="lit_modules.leap.task:LeapTask",
        model=model,
        data=LeapData(),
        optim=Optim(schedule="multi_step", milestones=(3, 6, 9), gamma=0.05),
        epochs=12,
        batch_size=4096,
        lr=1e-4,
        seed=7,
        demo=_DEMO | demo,
    )
