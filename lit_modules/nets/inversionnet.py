"""InversionNet (Wu and Lin 2019, arXiv:1811.07875) in the form of the OpenFWI benchmark (Deng et al. 2022, arXiv:2111.02926)."""

from __future__ import annotations

from torch import Tensor, nn

from lit_modules.nets.gwi_inversion import VelocityOutput

_CROP = 5  # 80 x 80 to 70 x 70


class InversionNet(nn.Module):
    """A plain encoder to one vector and a decoder to the map, in [-1, 1]. 24.4 million parameters at 1000 samples.

    Args:
        samples: Time samples of a gather.
        shots: Gathers of a map.
        width: Channels of the first layer (32 in the benchmark).
    """

    def __init__(self, samples: int = 1000, shots: int = 5, width: int = 32) -> None:
        super().__init__()
        height, columns = samples, 70
        for _ in range(4):
            height = -(-height // 2)
        for _ in range(3):
            height, columns = -(-height // 2), -(-columns // 2)
        w = width
        in_time = [(shots, w), (w, 2 * w), (2 * w, 2 * w), (2 * w, 4 * w)]
        in_both = [(4 * w, 4 * w), (4 * w, 8 * w), (8 * w, 8 * w)]
        layers = [_conv(*in_time[0], (7, 1), (2, 1), (3, 0))]
        for before, after in in_time[1:]:
            layers += [_conv(before, after, (3, 1), (2, 1), (1, 0)), _conv(after, after, (3, 1), (1, 1), (1, 0))]
        for before, after in in_both:
            layers += [_conv(before, after, (3, 3), (2, 2), (1, 1)), _conv(after, after, (3, 3), (1, 1), (1, 1))]
        layers += [_conv(8 * w, 16 * w, (height, columns), (1, 1), (0, 0))]
        self.encoder = nn.Sequential(*layers)
        steps = [_up(16 * w, 16 * w, 5, 1, 0), _conv(16 * w, 16 * w, (3, 3), (1, 1), (1, 1))]
        for before, after in ((16 * w, 8 * w), (8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w)):
            steps += [_up(before, after, 4, 2, 1), _conv(after, after, (3, 3), (1, 1), (1, 1))]
        self.decoder = nn.Sequential(*steps)
        self.head = nn.Sequential(nn.Conv2d(w, 1, 3, padding=1), nn.BatchNorm2d(1), nn.Tanh())

    def forward(self, gathers: Tensor) -> VelocityOutput:
        """``(batch, shots, samples, 70)`` to scaled maps ``(batch, 70, 70)``; it has no opinion of its errors (zeros)."""
        x = self.decoder(self.encoder(gathers))
        velocity = self.head(x[:, :, _CROP:-_CROP, _CROP:-_CROP])[:, 0].float()
        return VelocityOutput(velocity, velocity.new_zeros(velocity.shape))


def _conv(
    before: int, after: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, padding), nn.BatchNorm2d(after), nn.LeakyReLU(0.2))


def _up(before: int, after: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, kernel, stride, padding), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)
    )
