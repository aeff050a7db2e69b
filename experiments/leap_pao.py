"""LEAP, 3rd place: convolutions, attention and an LSTM over profiles and scalars embedded apart.

As "Crowdsourcing the Frontier" compares it (arXiv:2511.20963). Its configurations: as declared;
--model.confidence true; --model.difference_weight 1; --model.representation multi.
"""

from experiments.domains.leap.online import online_net
from experiments.engine.runner import main
from lit_modules.leap.online_settings import Pao

EXPERIMENT = online_net("leap_pao", Pao(), demo={"model.hidden": 16, "model.blocks": 1, "model.layers": 1})

if __name__ == "__main__":
    main(EXPERIMENT)
