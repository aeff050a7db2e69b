"""LEAP, 8th place: Residual dilated convolutions and attention (a script without a published score)."""

from experiments.leap_domain import column_net
from experiments.runner import main
from lit_modules.leap.settings import TCNAttention

EXPERIMENT = column_net("leap_tcn_attention", TCNAttention(), batch_size=7680)

if __name__ == "__main__":
    main(EXPERIMENT)
