"""LEAP, 8th place: Bidirectional LSTM over the 60 levels and an MLP at every level."""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import BiLSTM

EXPERIMENT = column_net("leap_bilstm", BiLSTM(), batch_size=4096, cv=0.7844, lb=0.7812)

if __name__ == "__main__":
    main(EXPERIMENT)
