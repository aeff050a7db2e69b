"""LEAP, 8th place: Bidirectional GRU of eight layers over the 60 levels and an MLP."""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import BiGRU

EXPERIMENT = column_net("leap_bigru", BiGRU(), batch_size=4096, cv=0.7835, lb=0.7802)

if __name__ == "__main__":
    main(EXPERIMENT)
