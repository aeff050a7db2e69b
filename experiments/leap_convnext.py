"""LEAP, 4th place: ConvNeXt over the 60 levels.

As "Crowdsourcing the Frontier" compares it (arXiv:2511.20963). Its configurations: as declared;
--model.confidence true; --model.difference_weight 1; --model.representation multi.
"""

from experiments.domains.leap.online import online_net
from experiments.engine.runner import main
from lit_modules.leap.online_settings import ConvNeXt

EXPERIMENT = online_net(
    "leap_convnext",
    ConvNeXt(),
    demo={"model.depths": (1, 1, 2, 1), "model.widths": (16, 32, 32, 64), "model.layer_scale": 0.1},
)

if __name__ == "__main__":
    main(EXPERIMENT)
