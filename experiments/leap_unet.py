"""LEAP, Hu et al. 2025: U-Net over the 60 levels.

As "Crowdsourcing the Frontier" compares it (arXiv:2511.20963). Its configurations: as declared;
--model.confidence true; --model.difference_weight 1; --model.representation multi.
"""

from experiments.domains.leap.online import online_net
from experiments.engine.runner import main
from lit_modules.leap.online_settings import UNet

EXPERIMENT = online_net("leap_unet", UNet(), demo={"model.width": 16, "model.blocks": 1})

if __name__ == "__main__":
    main(EXPERIMENT)
