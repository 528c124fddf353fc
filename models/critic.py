"""A discriminator of a trunk's features, which has no published layout."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class FeatureCritic(nn.Module):
    """Scores of (N, C, h, w) features at three scales: of 5x5 places, of 11x11, and of 23x23.

    Two 3x3 convolutions a scale, each under spectral norm (Miyato et al. 2018); the second scale has half
    the size, the third a quarter.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 4 * channels // 3, 2 * channels, 8 * channels // 3)
        self.levels = nn.ModuleList(
            nn.Sequential(*_conv(width, wider, 1 if n == 0 else 2), *_conv(wider, wider, 1))
            for n, (width, wider) in enumerate(pairwise(widths))
        )
        self.scores = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths[1:])

    def forward(self, features: Tensor) -> list[Tensor]:
        """Scores (N, 1, h, w), (N, 1, h/2, w/2) and (N, 1, h/4, w/4), above 0 for real ones."""
        found: list[Tensor] = []
        for level, score in zip(self.levels, self.scores, strict=True):
            features = level(features)
            found.append(score(features))
        return found


def _conv(width: int, wider: int, stride: int) -> list[nn.Module]:
    return [spectral_norm(nn.Conv2d(width, wider, 3, stride=stride, padding=1)), nn.LeakyReLU(0.2)]
