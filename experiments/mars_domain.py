"""Where the parts of the Mars domain live."""

from __future__ import annotations

from experiments.declare import Domain, Published

MARS = Domain(
    name="mars",
    datamodule="datamodules.mars.datamodule:MarsDataModule",
    demo="experiments.mars_report:make_demo",
    report="experiments.mars_report:report",
    predict="experiments.mars_predict:predict",
    metric="column_log_loss",
    demo_announcement=(
        "no --data_dir, so synthetic GC-MS runs are generated and a small backbone is trained from random weights; "
        "the scores say nothing about the competition's"
    ),
)

SOURCE = "drivendataorg/mars-spectrometry-gcms, 2nd place"


def score(value: float, what: str) -> Published:
    """A score that the winner published."""
    return Published(value, what, SOURCE)
