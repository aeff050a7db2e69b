"""LEAP, 2nd place: ten bidirectional LSTMs with residuals.

As "Crowdsourcing the Frontier" compares it (arXiv:2511.20963). Its configurations: as declared;
--model.confidence true; --model.difference_weight 1; --model.representation multi.
"""

from experiments.domains.leap.online import online_net
from experiments.engine.runner import main
from lit_modules.leap.online_settings import PureResLSTM

EXPERIMENT = online_net("leap_pure_reslstm", PureResLSTM(), demo={"model.hidden": 32, "model.layers": 2})

if __name__ == "__main__":
    main(EXPERIMENT)
