"""LEAP, 5th place: an autoencoder of the column beside the column, read by LSTM and GRU.

As "Crowdsourcing the Frontier" compares it (arXiv:2511.20963). Its configurations: as declared;
--model.confidence true; --model.difference_weight 1; --model.representation multi.
"""

from experiments.domains.leap.online import online_net
from experiments.engine.runner import main
from lit_modules.leap.online_settings import EncDecLSTM

EXPERIMENT = online_net(
    "leap_encdec_lstm", EncDecLSTM(), demo={"model.hidden": 32, "model.layers": 1, "model.dropout": 0.0}
)

if __name__ == "__main__":
    main(EXPERIMENT)
