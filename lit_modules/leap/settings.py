"""Typed settings of the LEAP nets (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from datamodules.settings import Checked, setting


@dataclass
class LeapModel(Checked):
    """What every LEAP net shares: input channels, loss, post-processing.

    Args:
        representation: ``standard`` = every variable once, standardised (8th place); ``multi`` = several scalings of it
            side by side (1st place).
        loss: Pointwise loss on the scaled targets.
        loss_beta: Where ``smooth_l1`` and ``huber`` turn from quadratic to linear, in scaled units.
        difference_weight: Weight of the loss on differences between adjacent levels (2nd and 3rd place; 0 = off).
        second_difference_weight: Weight of the loss on second differences (3rd place; 0 = off).
        confidence: Predict the expected error of every target too, which prediction banks keep.
        confidence_learns: What the confidence estimates: the ``absolute_error`` of the prediction, by the absolute error
            (1st place), or its pointwise ``loss``, by that same loss (arXiv:2511.20963).
        detach_confidence: No gradient from the confidence loss into the predictions.
        relative_humidity: Add relative humidity as an input channel (3rd, 4th and 10th place).
        vertical_difference: Add differences between adjacent levels as input channels (7th place).
        target_scale: Divide a weighted target by its ``rms`` (8th place) or its ``std``, or leave it (``weight``, 1st
            place).
        target_clip: Training targets are compressed by a logarithm beyond so many scaled units; 0 = never. A few rows of a
            cloud column can lie a hundred standard deviations out.
        hold: Hold inputs and predictions to the range of the training rows.
        clamp_water: No step may leave negative water (5th place).
        select_by: What the best epoch is chosen by and early stopping waits for: the ``judge``'s mean, the mean with every
            target's R2 ``clipped`` to [-1, 1], or ``auto``: the judge's where the rows can tell every target, else the
            clipped one.
        train_groups: Variable groups that the loss counts, such as ``t,u`` (of t, q0001, q0002, q0003, u, v, surface);
            all by default. With ``--init_from`` this is the 2nd place's fine-tuning of target groups; the best
            checkpoint is chosen by these groups.
    """

    group: ClassVar[str] = "model"

    # module:class of the net; a plain string, because this file is read before torch is imported
    net: ClassVar[str] = ""
    # settings of a class that its task reads and its net does not
    task_options: ClassVar[tuple[str, ...]] = ()
    # whether the net is told which of its channels are scalars repeated on the levels
    splits_scalars: ClassVar[bool] = False

    representation: Literal["standard", "multi"] = "standard"
    loss: Literal["smooth_l1", "huber", "mae", "mse"] = "smooth_l1"
    loss_beta: float = setting(1.0, above=0)
    difference_weight: float = setting(0.0, low=0)
    second_difference_weight: float = setting(0.0, low=0)
    confidence: bool = False
    confidence_learns: Literal["absolute_error", "loss"] = "absolute_error"
    detach_confidence: bool = True
    relative_humidity: bool = False
    vertical_difference: bool = False
    target_scale: Literal["rms", "std", "weight"] = "rms"
    target_clip: float = setting(0.0, low=0)
    hold: bool = False
    clamp_water: bool = True
    select_by: Literal["auto", "judge", "clipped"] = "auto"
    train_groups: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        from datamodules.leap.schema import TARGET_GROUPS

        for name in self.trained_groups:
            if name not in TARGET_GROUPS:
                raise ValueError(
                    f"model.train_groups: {name!r} is no variable group; there are {', '.join(TARGET_GROUPS)}"
                )

    @property
    def trained_groups(self) -> tuple[str, ...]:
        """The names in ``train_groups``; empty for all."""
        return tuple(name.strip() for name in self.train_groups.split(",")) if self.train_groups else ()

    def net_arguments(self) -> dict[str, Any]:
        """The settings that belong to the net itself; ``confidence`` only where it is wanted."""
        shared = {field.name for field in fields(LeapModel)} | set(self.task_options)
        own = {name: value for name, value in asdict(self).items() if name not in shared}
        return own | ({"confidence": True} if self.confidence else {})


@dataclass
class BiLSTM(LeapModel):
    """Bidirectional LSTM over the levels and an MLP at every level.

    Args:
        hidden: Width of one direction.
        layers: Stacked recurrent layers.
        dropout: Between recurrent layers and in the head.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTM"

    hidden: int = setting(256, low=1)
    layers: int = setting(6, low=1)
    dropout: float = setting(0.1, low=0, below=1)


@dataclass
class BiLSTMTCN(BiLSTM):
    """BiLSTM, squeeze-excite gate, dilated convolutions, linear head.

    Args:
        dilations: Dilation of each convolution.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMTCN"

    dilations: tuple[int, ...] = setting((1, 2, 4, 8), low=1)


@dataclass
class BiGRU(BiLSTM):
    """Bidirectional GRU of eight layers and an MLP at every level."""

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiGRU"

    layers: int = setting(8, low=1)


@dataclass
class BiLSTMCNN(BiLSTM):
    """BiLSTM, squeeze-excite gate, two convolutions, linear head.

    Args:
        dilations: Dilation of each convolution.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMCNN"

    dilations: tuple[int, ...] = setting((1, 1), low=1)


@dataclass
class AttendingBiLSTM(BiLSTM):
    """Common part of a BiLSTM with attention.

    Args:
        heads: Attention heads; must divide twice ``hidden``.
        attention_axis: ``level`` attends over the 60 levels; ``batch`` replicates the source's quirk (a row's result
            depends on the rows beside it) and is refused in validation and prediction.
    """

    heads: int = setting(8, low=1)
    attention_axis: Literal["level", "batch"] = "level"


@dataclass
class BiLSTMAttention(AttendingBiLSTM):
    """BiLSTM, self-attention, MLP at every level.

    Args:
        attention_residual: Add the attention to its input and normalise the sum. Without, as in the source, all that a level
            knows of itself must pass through the attention, which few steps do not teach.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMAttention"

    attention_residual: bool = False


@dataclass
class BiLSTMTransformer(AttendingBiLSTM):
    """BiLSTM, one Transformer encoder layer, MLP at every level.

    Args:
        feedforward: Hidden width of the encoder layer.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMTransformer"

    feedforward: int = setting(2048, low=1)


@dataclass
class BiGRUTransformer(BiLSTMTransformer):
    """BiGRU, one Transformer encoder layer, MLP at every level (a script of the source without a score)."""

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiGRUTransformer"


@dataclass
class LSTMGRUTransformer(BiLSTMTransformer):
    """Weighted sum of a BiLSTM and a BiGRU, one Transformer encoder layer, MLP (a script of the source without a score).

    Args:
        lstm_share: Weight of the BiLSTM; the BiGRU has the rest.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:LSTMGRUTransformer"

    lstm_share: float = setting(0.6, low=0, high=1)


@dataclass
class TransformerLSTM(BiLSTMTransformer):
    """One Transformer encoder layer on the 25 channels, then BiLSTM and MLP (a script of the source without a score)."""

    net: ClassVar[str] = "lit_modules.nets.recurrent:TransformerLSTM"

    heads: int = setting(5, low=1)


@dataclass
class ResLSTMAttention(BiLSTMAttention):
    """One BiLSTM layer, concatenated with the input, BiLSTM, attention, MLP (a script of the source without a score)."""

    net: ClassVar[str] = "lit_modules.nets.recurrent:ResLSTMAttention"

    heads: int = setting(1, low=1)


@dataclass
class TCNAttention(BiLSTM):
    """Residual dilated convolutions and self-attention over the levels (a script of the source without a score).

    ``hidden`` is the width of the convolutions, ``layers`` the number of residual blocks.

    Args:
        heads: Attention heads; must divide ``hidden``.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:TCNAttention"

    heads: int = setting(8, low=1)


@dataclass
class Squeezeformer(LeapModel):
    """Modified Squeezeformer of the 1st place on 44 channels, with confidence head and space-time auxiliary targets.

    Args:
        dim: Width of the blocks.
        head: Width of the head.
        blocks: Pairs of convolution and attention blocks.
        kernel_size: Levels that the depthwise convolutions span.
        heads: Attention heads; must divide ``dim``.
        expand: Width before a gate, in multiples of ``dim``.
        aux_spacetime: Learn latitude, longitude, day and second besides the targets (needs to know the grid).
        high_res_clip: high-resolution targets are compressed beyond this factor times the range of the training targets;
            0 = never.
        scale_bias_init: First scale of the residual branches: 1, or Keras' draw as in the source.
        bn_momentum: BatchNorm momentum in torch's sense.
        checkpoint_blocks: Recompute activations in the backward pass, which saves memory and costs time.
        net_variant: The ``winner``'s net, or the ``paper``'s port of it (arXiv:2511.20963; the preset ``paper``).
    """

    net: ClassVar[str] = "lit_modules.nets.squeezeformer:Squeezeformer"
    task_options: ClassVar[tuple[str, ...]] = ("aux_spacetime", "high_res_clip", "net_variant")

    representation: Literal["standard", "multi"] = "multi"
    loss: Literal["smooth_l1", "huber", "mae", "mse"] = "mae"
    target_scale: Literal["rms", "std", "weight"] = "weight"
    dim: int = setting(384, low=1)
    head: int = setting(2048, low=1)
    blocks: int = setting(12, low=1)
    kernel_size: int = setting(15, low=1)
    heads: int = setting(4, low=1)
    expand: int = setting(4, low=1)
    confidence: bool = True
    aux_spacetime: bool = True
    high_res_clip: float = setting(1.1, low=0)
    scale_bias_init: Literal["ones", "glorot"] = "ones"
    bn_momentum: float = setting(0.05, above=0, high=1)
    checkpoint_blocks: bool = False
    net_variant: Literal["winner", "paper"] = "winner"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % self.heads:
            raise ValueError(f"model.heads {self.heads} must divide model.dim {self.dim}")

    @property
    def n_aux(self) -> int:
        """Auxiliary targets of the net."""
        return 6 if self.aux_spacetime else 0

    def net_arguments(self) -> dict[str, Any]:
        """The settings that belong to the net itself."""
        more = {"confidence": self.confidence, "n_aux": self.n_aux, "variant": self.net_variant}
        return super().net_arguments() | more


@dataclass
class Ridge(LeapModel):
    """Ridge regression on the standardised inputs; its penalty is chosen on the latest training rows."""

    net: ClassVar[str] = "lit_modules.leap.ridge:ColumnLinear"
    splits_scalars: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.confidence or self.representation != "standard":
            raise ValueError("ridge reads the standard representation and has no head for --model.confidence")
