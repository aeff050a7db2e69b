"""Where the parts of the LEAP domain live, and what the column nets of the 8th place share."""

from __future__ import annotations

from typing import Any

from datamodules.leap.settings import LeapData
from experiments.engine.declare import Domain, Experiment, Published
from experiments.engine.settings import Train
from lit_modules.leap.settings import LeapModel

LEAP = Domain(
    name="leap",
    datamodule="datamodules.leap.datamodule:LeapDataModule",
    demo="experiments.domains.leap.report:make_demo",
    report="experiments.domains.leap.report:report",
    predict="experiments.domains.leap.predict:predict",
    submission="datamodules.leap.submission:submit_bank",
    export="experiments.domains.leap.export:export",
    evaluate="experiments.domains.leap.evaluate:evaluate",
    metric="r2",
    pictures=("r2_by_level", "predicted_against_true"),
    demo_announcement=(
        "no --data_dir, so synthetic ClimSim files are generated and {net} is trained; "
        "the scores say nothing about the competition's"
    ),
    task=(
        "From the state of an atmospheric column (temperature, water, wind, gases on 60 levels, and surface "
        "values) predict what a cloud-resolving model does to it in 1200 s: 368 tendencies and surface "
        "fluxes."
    ),
    data_licence=(
        "ClimSim (Yu et al. 2023, arXiv:2306.08754), CC BY 4.0; tables of the competition LEAP - Atmospheric "
        "Physics using AI (Kaggle) under its rules."
    ),
    intended_use="emulating the column physics of E3SM-MMF. Stability in a coupled climate model is not claimed.",
)

README_A = "jackhuntcn/kaggle-leap-competition-codes, README"
DEMO_A: dict[str, Any] = {
    "model.hidden": 32,
    "model.layers": 1,
    "model.dropout": 0.0,
    "model.target_scale": "std",
    "epochs": 6,
    "batch_size": 256,
    "lr": 3e-3,
}


def column_net(
    name: str, model: LeapModel, batch_size: int, cv: float | None = None, lb: float | None = None
) -> Experiment:
    """An experiment of the 8th place: its seed, loss, optimiser and schedule around one net.

    Args:
        name: Name of the experiment file.
        model: Net settings.
        batch_size: Batch size of the source's script.
        cv: Published validation R2.
        lb: Published leaderboard R2.
    """
    published = [Published(cv, "CV R2 on 0008-07..0009-01", README_A)] if cv else []
    published += [Published(lb, "leaderboard R2", README_A)] if lb else []
    return Experiment(
        name=name,
        domain=LEAP,
        task="lit_modules.leap.task:LeapTask",
        model=model,
        data=LeapData(),
        train=Train(patience=5),
        epochs=30,
        batch_size=batch_size,
        lr=1e-3,
        seed=1325,
        demo=DEMO_A | ({"model.feedforward": 128} if hasattr(model, "feedforward") else {}),
        published=tuple(published),
    )
