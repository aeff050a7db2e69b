"""LEAP, 8th place: BiLSTM over the 60 levels, squeeze-excite gate, dilated convolutions (BiLSTM + TCN)."""

from datamodules.leap.settings import LeapData
from experiments.declare import Experiment, Published
from experiments.leap_domain import LEAP
from experiments.runner import main
from experiments.settings import Train
from lit_modules.leap.settings import BiLSTMTCN

EXPERIMENT = Experiment(
    name="leap_bilstm_tcn",
    domain=LEAP,
    task="lit_modules.leap.task:LeapTask",
    model=BiLSTMTCN(),
    data=LeapData(),
    train=Train(patience=5),
    epochs=30,
    batch_size=7680,
    lr=1e-3,
    seed=1325,
    demo={"model.hidden": 64, "model.layers": 1, "epochs": 8, "batch_size": 256, "lr": 3e-3},
    published=(
        Published(0.7855, "CV R2", "jackhuntcn/kaggle-leap-competition-codes, README"),
        Published(0.7832, "public leaderboard R2", "the same"),
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
