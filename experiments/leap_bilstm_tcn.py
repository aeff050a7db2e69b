"""LEAP, 8th place: BiLSTM over the 60 levels, squeeze-excite gate, dilated convolutions (BiLSTM + TCN)."""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import BiLSTMTCN

EXPERIMENT = column_net("leap_bilstm_tcn", BiLSTMTCN(), batch_size=7680, cv=0.7855, lb=0.7832)

if __name__ == "__main__":
    main(EXPERIMENT)
