"""Typed settings of the nets that "Crowdsourcing the Frontier" compares (arXiv:2511.20963; no torch here).

Each is the net of a top LEAP solution as the paper rebuilt it; with ``--model.representation``, ``--model.confidence`` and
``--model.difference_weight`` they run under the paper's configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from lit_modules.leap.settings import LeapModel


@dataclass
class OnlineModel(LeapModel):
    """What the paper's nets share: Huber's loss on targets of unit spread, and a confidence that learns that loss."""

    loss: Literal["smooth_l1", "huber", "mae", "mse"] = "huber"
    target_scale: Literal["rms", "std", "weight"] = "std"
    confidence_learns: Literal["absolute_error", "loss"] = "loss"


@dataclass
class UNet(OnlineModel):
    """U-Net with attention at the coarsest of four resolutions of the levels (Hu et al. 2025).

    Args:
        width: Channels at the full number of levels; a multiple of 4.
        multipliers: Width of each resolution in multiples of ``width``.
        blocks: Blocks of the encoder at each resolution; the decoder has one more.
        dropout: Dropout inside the blocks.
        positive_scalars: Pass the fluxes through a ReLU, as the source does; right only for targets that are not centred,
            which this project's are.
    """

    net: ClassVar[str] = "lit_modules.nets.unet:UNet"

    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    dropout: float = 0.0
    positive_scalars: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 4 or self.width < 4:
            raise ValueError(f"model.width must be a multiple of 4, got {self.width}")
        self.multipliers = tuple(self.multipliers)


@dataclass
class PureResLSTM(OnlineModel):
    """Ten bidirectional LSTMs with residuals and joint LayerNorm (2nd place).

    Args:
        hidden: Width of one direction.
        layers: Recurrent layers.
    """

    net: ClassVar[str] = "lit_modules.nets.pure_reslstm:PureResLSTM"

    hidden: int = 256
    layers: int = 10


@dataclass
class Pao(OnlineModel):
    """Profiles and scalars embedded apart; convolutions, attention and an LSTM over both (3rd place).

    Args:
        hidden: Width of the embedded profiles and of the embedded scalars; a multiple of 4.
        blocks: Blocks of convolutions and attention.
        layers: Layers of the LSTM.
        level_major: Keep the published order of the profile head's output, an oversight; only for published weights.
    """

    net: ClassVar[str] = "lit_modules.nets.pao:Pao"
    splits_scalars: ClassVar[bool] = True

    hidden: int = 160
    blocks: int = 4
    layers: int = 2
    level_major: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % 4 or self.hidden < 4:
            raise ValueError(
                f"model.hidden must be a multiple of 4, so that 8 heads divide twice it, got {self.hidden}"
            )


@dataclass
class ConvNeXt(OnlineModel):
    """ConvNeXt over all 60 levels (4th place).

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kernels: Levels that the convolution before each stage spans.
        layer_scale: First scale of the residual branches.
    """

    net: ClassVar[str] = "lit_modules.nets.convnext:ConvNeXt"

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    kernels: tuple[int, ...] = (4, 2, 2, 2)
    layer_scale: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.depths, self.widths, self.kernels = tuple(self.depths), tuple(self.widths), tuple(self.kernels)
        if not len(self.depths) == len(self.widths) == len(self.kernels) > 0:
            raise ValueError(
                f"model.depths, model.widths and model.kernels must have one entry for each stage, got "
                f"{len(self.depths)}, {len(self.widths)} and {len(self.kernels)}"
            )


@dataclass
class EncDecLSTM(OnlineModel):
    """MLP autoencoder of the column beside the column, read by LSTM and GRU (5th place).

    Args:
        hidden: Width of one direction of the LSTM.
        layers: Layers of the LSTM.
        dropout: Dropout between the layers of the LSTM.
        bottleneck: Width of the encoder's three layers in multiples of the input channels.
        narrow: Width of one direction of the GRU.
    """

    net: ClassVar[str] = "lit_modules.nets.encdec_lstm:EncDecLSTM"

    hidden: int = 512
    layers: int = 3
    dropout: float = 0.09
    bottleneck: tuple[int, ...] = (15, 8, 4)
    narrow: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bottleneck = tuple(self.bottleneck)
