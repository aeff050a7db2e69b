"""Where the parts of the MoA domain live, and what the nets of the 1st place share.

All families share one fold table (five drug folds by default), so that their out-of-fold predictions can be blended; the
sources used tables of their own. ``--data.cv row --data.n_folds 10`` is the old cross-validation of the published scores.
"""

from __future__ import annotations

from typing import Any, Literal

from datamodules.moa.settings import MoaData
from experiments.engine.declare import Domain, Experiment, Published
from experiments.engine.settings import Train
from lit_modules.moa.settings import MoaModel
from lit_modules.settings import Optim

MOA = Domain(
    name="moa",
    datamodule="datamodules.moa.datamodule:MoaDataModule",
    demo="experiments.domains.moa.report:make_demo",
    report="experiments.domains.moa.report:report",
    predict="experiments.domains.moa.predict:predict",
    submission="datamodules.moa.submission:submit_bank",
    metric="column_log_loss",
    pictures=("feature_map",),
    demo_announcement=(
        "no --data_dir, so synthetic lish-moa files are generated and {net} is trained; "
        "the scores say nothing about the competition's"
    ),
    task=(
        "From gene expression and cell viability after a treatment predict the probability of each mechanism "
        "of action of the drug."
    ),
    data_licence=(
        "Mechanisms of Action (MoA) Prediction (Kaggle) under the competition's rules; LINCS / L1000 data "
        "under the Broad Institute's terms."
    ),
    intended_use=(
        "ranking likely mechanisms of compounds measured by the same assays. It is no basis for treating anybody."
    ),
)

SOURCE = "guitarmind/kaggle_moa_winner_hungry_for_gold"
# the learning rate given to Adam is overwritten by the schedule, which also moves beta1 from 0.95 to 0.85 and back
ONE_CYCLE = Optim(
    optimizer="adam", weight_decay=1e-5, schedule="one_cycle", pct_start=0.2, div_factor=1e3, final_div_factor=1e4,
    cycle_momentum=True,
)  # fmt: skip
# RAdam on a cosine wave that reaches 0 after 5, 15, 25 and 35 epochs, which is where the source's best checkpoints are
WAVE = Optim(optimizer="radam", weight_decay=1e-6, schedule="cyclic_cosine", half_period=5)


def moa(
    name: str,
    model: MoaModel,
    data: MoaData,
    demo: dict[str, Any],
    epochs: int,
    batch_size: int,
    lr: float,
    optim: Optim = ONE_CYCLE,
    train: Train | None = None,
    seed: int = 0,
    published: tuple[Published, ...] = (),
    previous: str = "",
    takes: Literal["predictions", "weights"] = "predictions",
) -> Experiment:
    """An experiment of the domain."""
    return Experiment(
        name=name,
        domain=MOA,
        task="lit_modules.moa.task:MoaTask",
        model=model,
        data=data,
        optim=optim,
        train=train or Train(checkpoint_every=0),
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        demo=demo,
        published=published,
        previous=previous,
        takes=takes,
    )


def score(value: float, what: str) -> Published:
    """A score that the winners published."""
    return Published(value, what, SOURCE)
