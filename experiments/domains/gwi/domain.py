"""Where the parts of the GWI domain live, and what its experiments share."""

from __future__ import annotations

from datamodules.gwi.settings import GwiData
from experiments.engine.declare import Domain, Experiment, Published
from lit_modules.gwi.settings import Inversion
from lit_modules.settings import Optim

GWI = Domain(
    name="gwi",
    datamodule="datamodules.gwi.datamodule:GwiDataModule",
    demo="datamodules.gwi.demo:make_demo",
    report="experiments.domains.gwi.report:report",
    predict="experiments.domains.gwi.predict:predict",
    submission="datamodules.gwi.submission:submit_bank",
    metric="mae",
    pictures=("maps", "out_of_fold_maps", "risk_coverage"),
    demo_announcement=(
        "no --data_dir, so maps of three families are generated and shot (minutes, once) and {net} is trained; "
        "the scores say nothing about the competition's"
    ),
    task="From seismic gathers at the surface predict the map of sound velocity below.",
    data_licence="OpenFWI (Deng et al. 2022, arXiv:2111.02926), CC BY-NC-SA 4.0: no commercial use.",
    intended_use="inverting synthetic gathers of OpenFWI's acquisition. Field data are not claimed.",
)

GWI_FAMILY = Domain(
    name="gwi",
    datamodule="datamodules.gwi.maps:FamilyDataModule",
    demo="datamodules.gwi.demo:make_family_demo",
    report="experiments.domains.gwi.family_report:report",
    predict="experiments.domains.gwi.family_predict:predict",
    metric="column_log_loss",
    demo_announcement=(
        "no --data_dir, so maps of all ten families are generated (seconds, not shot) and {net} is trained; "
        "generated families are easier or harder to tell apart than real ones"
    ),
    task="From a velocity map tell which OpenFWI family it is of.",
    data_licence="OpenFWI (Deng et al. 2022, arXiv:2111.02926), CC BY-NC-SA 4.0: no commercial use.",
    intended_use="choosing among models of families.",
)

WRITE_UP = "Kaggle waveform-inversion, write-up of the 4th place"
LEADERBOARD = (Published(8.6, "public leaderboard MAE in m/s of three such models, many runs each", WRITE_UP),)

_DEMO = {
    "data.weights": "", "data.repeat": 7, "batch_size": 16, "lr": 4e-3, "optim.optimizer": "muon", "optim.warmup": 0.05, "optim.beta2": 0.98,
    "model.dim": 64, "model.blocks": 4, "model.head_dim": 32, "model.tokens": 9, "model.positions": True,
    "model.gain": 300.0, "model.norm_momentum": 0.1, "model.scaling": 0.25,
}  # fmt: skip  # what experiments/presets/gwi_inversion/small.yaml says


def inversion(name: str, model: Inversion, data: GwiData) -> Experiment:
    """An experiment with the 4th place's net, loss, optimiser and schedule (batch and epochs are not published).

    Args:
        name: Name of the experiment file.
        model: Settings of the net; they say how lines are mirrored.
        data: Settings of the data; they say which families are shown more often.
    """
    return Experiment(
        name=name,
        domain=GWI,
        task="lit_modules.gwi.task:GwiTask",
        model=model,
        data=data,
        optim=Optim(weight_decay_per_lr=4.0),
        epochs=50,
        batch_size=512,
        lr=1e-3,
        demo=_DEMO | {"epochs": 6 if data.exact_mirror else 12},  # mirror images double the training rows
        published=LEADERBOARD,
    )
