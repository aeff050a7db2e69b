"""LEAP, 8th place: Residual dilated convolutions and attention (a script without a published score)."""

from experiments.domains.leap.domain import column_net
from experiments.engine.runner import main
from lit_modules.leap.settings import TCNAttention

EXPERIMENT = column_net("leap_tcn_attention", TCNAttention(), batch_size=7680)

if __name__ == "__main__":
    main(EXPERIMENT)
