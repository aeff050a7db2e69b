"""Mars baseline: logistic regression on the maximum and mean of each mass and each time of the log-scaled image."""

from datamodules.mars.settings import MarsData
from experiments.domains.mars.domain import MARS
from experiments.engine.declare import Experiment
from experiments.engine.runner import main
from lit_modules.mars.settings import MarsLogistic

EXPERIMENT = Experiment(
    name="mars_logistic",
    domain=MARS,
    task="lit_modules.mars.logistic:MarsLogisticTask",
    model=MarsLogistic(normalise="none"),
    data=MarsData(),
    epochs=1,
    batch_size=1,  # every training row is seen, none is left over
)

if __name__ == "__main__":
    main(EXPERIMENT)
