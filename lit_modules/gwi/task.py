"""The GWI task: seismic gathers to a velocity map, judged by mean absolute error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from datamodules.gwi.schema import SIDE
from lit_modules.base import BaseTask, Batch
from lit_modules.gwi.figures import gathers_and_maps
from lit_modules.gwi.metrics import FamilyMAE
from lit_modules.gwi.scaling import at_speed, scaled
from lit_modules.gwi.settings import GwiModel
from lit_modules.nets.gwi_inversion import VelocityOutput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CENTRE, _SCALE = 3000.0, 1500.0
_SHOWN = 4
_FACTORS = (1 / 1.04, 1.04)  # of velocities at which gathers are looked at once more


class GwiTask(BaseTask):
    """Trains any net ``gathers -> VelocityOutput`` on (v - 3000) / 1500; scores and predicts m/s in float32.

    The median map of the training rows is a buffer, for figures and tables to stand beside.
    """

    monitor: ClassVar[str] = "val_mae"
    mode: ClassVar[str] = "min"
    model_settings: GwiModel
    median_map: Tensor

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """The net, and the map that knows no gather."""
        self.net = build_net(self.model_settings)
        median = torch.zeros(SIDE, SIDE) if statistics is None else torch.as_tensor(statistics["median_map"]).float()
        self.register_buffer("median_map", median)

    def configure_metrics(self) -> None:
        """Exact errors by family."""
        self.val_mae = FamilyMAE()
        self._shown: list[tuple[Tensor, Tensor, Tensor]] = []
        self._drawn: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, gathers: Tensor) -> VelocityOutput:
        """Gathers ``(B, 5, samples, 70)`` as recorded to scaled maps, in the orientation of the gathers."""
        if self.model_settings.mirror == "all":
            return _mirrored(self._net(gathers.flip(1, 3)))
        return self._net(gathers)

    def _net(self, gathers: Tensor) -> VelocityOutput:
        if self.model_settings.amplitude == "log1p":
            gathers = _compressed(gathers, self.model_settings.gain)
        out: VelocityOutput = self.net(gathers)
        return out

    def compute_loss(self, batch: Batch) -> Tensor:
        """Absolute error, and the absolute error of its estimate."""
        gathers, velocity = batch["gathers"], batch["velocity"]
        if self.model_settings.scaling > 0:
            gathers, velocity = scaled(gathers, velocity, self.model_settings.scaling)
        if self.model_settings.mirror == "naive":
            turned = torch.rand(len(gathers), device=gathers.device) < 0.5
            gathers = gathers.index_put((turned,), gathers[turned].flip(1, 3))
            velocity = torch.where(turned[:, None, None], velocity.flip(2), velocity)
        return self.loss(self(gathers), velocity)

    def loss(self, out: VelocityOutput, velocity: Tensor) -> Tensor:
        """MAE(velocity) + weight * MAE(confidence, absolute error), scaled, in float32."""
        error = (out.velocity - (velocity - _CENTRE) / _SCALE).abs()
        loss = error.mean()
        if self.model_settings.confidence_weight > 0:
            estimate = (out.confidence - error.detach()).abs().mean()
            loss = loss + self.model_settings.confidence_weight * estimate
        return loss

    def predict(self, gathers: Tensor) -> tuple[Tensor, VelocityOutput]:
        """Maps in m/s, and their scaled output, averaged over both views with naive mirroring and over three where training scales."""
        views = []
        for factor in (1.0, *(_FACTORS if self.model_settings.scaling > 0 else ())):
            view = gathers if factor == 1 else at_speed(gathers, factor)
            outs = [self(view)]
            if self.model_settings.mirror == "naive":
                outs.append(_mirrored(self(view.flip(1, 3))))
            slower = (1 / factor - 1) * _CENTRE / _SCALE
            views += [(out.velocity / factor + slower, out.confidence / factor) for out in outs]
        mean = VelocityOutput(*(torch.stack(kind).mean(0) for kind in zip(*views, strict=True)))
        return mean.velocity * _SCALE + _CENTRE, mean

    def update_metrics(self, batch: Batch) -> Tensor:
        """Score a validation batch in m/s; remember the first maps for the figure."""
        velocity, out = self.predict(batch["gathers"])
        self.val_mae.update(velocity, batch["velocity"], batch["family"])
        if len(self._shown) < _SHOWN:
            self._shown.append((batch["gathers"][0].cpu(), batch["velocity"][0].cpu(), velocity[0].cpu()))
        return self.loss(out, batch["velocity"])

    def metric_table(self) -> dict[str, float]:
        """Mean absolute errors of all families and of each."""
        return self.val_mae.table()

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self.val_mae.reset()
        self._drawn, self._shown = self._shown, []

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Maps in m/s and, of a net that was trained to estimate it, ``confidence``: expected absolute errors in m/s."""
        velocity, out = self.predict(batch["gathers"])
        result = {"row_id": batch["row_id"], "predictions": velocity}
        if self.model_settings.confidence_weight > 0:
            result["confidence"] = out.confidence.clamp(min=0) * _SCALE
        return result

    def figures(self) -> dict[str, Figure]:
        """Gathers, true, predicted and error maps of the last validation."""
        return {"maps": gathers_and_maps(self._drawn)} if self._drawn else {}


def build_net(settings: GwiModel) -> nn.Module:
    """The net that the settings name."""
    module, name = settings.net.split(":")
    net: nn.Module = getattr(import_module(module), name)(**settings.net_arguments())
    return net


def _compressed(gathers: Tensor, gain: float) -> Tensor:
    """sign(x) log(1 + gain |x|) / log(1 + gain), in one new tensor.

    By ``log`` and in place: torch's ``log1p`` and its temporary tensors take seven times as long on a CPU, a sixth of a step. It is off by 1e-7.
    """
    size = gathers.abs().mul_(gain).add_(1).log_().div_(math.log1p(gain))
    return size.copysign_(gathers)


def _mirrored(out: VelocityOutput) -> VelocityOutput:
    return VelocityOutput(out.velocity.flip(2), out.confidence.flip(2))
