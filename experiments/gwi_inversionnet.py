"""GWI, baseline: InversionNet of the OpenFWI benchmark (24 million parameters, 1000 time samples)."""

from datamodules.gwi.settings import GwiData
from experiments.domains.gwi.domain import GWI
from experiments.engine.declare import Experiment, Published
from experiments.engine.runner import main
from lit_modules.gwi.settings import BenchmarkNet
from lit_modules.settings import Optim

EXPERIMENT = Experiment(
    name="gwi_inversionnet",
    domain=GWI,
    task="lit_modules.gwi.task:GwiTask",
    model=BenchmarkNet(),
    data=GwiData(samples=1000),
    optim=Optim(weight_decay=1e-4, warmup=0.04),
    epochs=120,
    batch_size=256,
    lr=1e-4,
    demo={
        "model.width": 8, "model.samples": 288, "model.gain": 300.0, "model.mirror": "naive", "model.scaling": 0.25,
        "data.samples": 288, "data.repeat": 5, "epochs": 8, "batch_size": 16, "lr": 4e-3, "optim.optimizer": "muon",
    },
    published=(
        Published(106.7, "mean over ten families of one net each, validation MAE in m/s", "OpenFWI, arXiv:2111.02926"),
    ),
)  # fmt: skip

if __name__ == "__main__":
    main(EXPERIMENT)
