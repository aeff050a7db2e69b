"""LEAP, 8th place: BiLSTM over the 60 levels, squeeze-excite gate, two convolutions (BiLSTM + CNN)."""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import BiLSTMCNN

EXPERIMENT = column_net("leap_bilstm_cnn", BiLSTMCNN(), batch_size=7680, cv=0.7842, lb=0.7821)

if __name__ == "__main__":
    main(EXPERIMENT)
