"""LEAP baseline: ridge regression on the 556 standardised inputs, one pass, with a bank like any other's."""

from dataclasses import replace

from experiments.domains.leap.domain import LEAP, column_net
from experiments.engine.runner import main
from experiments.engine.settings import Train
from lit_modules.leap.settings import Ridge

EXPERIMENT = replace(
    column_net("leap_ridge", Ridge(), batch_size=4096),
    domain=LEAP,
    task="lit_modules.leap.ridge:RidgeTask",
    train=Train(),
    epochs=1,
    demo={},
)

if __name__ == "__main__":
    main(EXPERIMENT)
