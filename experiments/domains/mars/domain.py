"""Where the parts of the Mars domain live."""

from __future__ import annotations

from experiments.engine.declare import Domain, Published

MARS = Domain(
    name="mars",
    datamodule="datamodules.mars.datamodule:MarsDataModule",
    demo="experiments.domains.mars.report:make_demo",
    report="experiments.domains.mars.report:report",
    predict="experiments.domains.mars.predict:predict",
    submission="datamodules.mars.submission:submit_bank",
    metric="column_log_loss",
    pictures=("log_loss_by_class", "reliability", "spectrogram"),
    demo_announcement=(
        "no --data_dir, so synthetic GC-MS runs are generated and {net} is trained; "
        "the scores say nothing about the competition's"
    ),
    task=("From a gas chromatograph's mass spectra predict the probability of each family of compounds in the sample."),
    data_licence="Mars Spectrometry 2: Gas Chromatography (DrivenData, NASA) under the competition's rules.",
    intended_use="sorting GC-MS runs of the same kind of instrument for an analyst to look at.",
)

SOURCE = "drivendataorg/mars-spectrometry-gcms, 2nd place"


def score(value: float, what: str) -> Published:
    """A score that the winner published."""
    return Published(value, what, SOURCE)
