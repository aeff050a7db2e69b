"""Where the parts of the LEAP domain live."""

from experiments.declare import Domain

LEAP = Domain(
    name="leap",
    datamodule="datamodules.leap.datamodule:LeapDataModule",
    demo="experiments.leap_report:make_demo",
    report="experiments.leap_report:report",
    predict="experiments.leap_predict:predict",
    metric="r2",
    demo_announcement=(
        "no --data_dir, so synthetic ClimSim files are generated and a reduced net is trained; "
        "the scores say nothing about the competition's"
    ),
)
