"""Shift-tolerant LPIPS (AlexNet), offline: a perceptual distance, and features for a distribution distance.

Ghildyal and Liu, "Shift-tolerant Perceptual Similarity Metric", ECCV 2022. Weights: the file that comes
with the package stlpips-pytorch 0.0.2 (BSD-2). The package itself is never imported: it wants
torchvision, IPython and torchsummary. models/perceptual.py agrees with it to the last digits
(tests/test_perceptual.py).
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.errors import ConfigError, GetganError

PACKAGE = "stlpips_pytorch"
INSTALL = "pip install --no-deps stlpips-pytorch==0.0.2"
CHANNELS = (64, 192, 384, 256, 256)
MIN_SIZE = 21  # below, a blur's reflection padding is wider than what it pads


class PerceptualWeightsError(GetganError):
    """The weight file of the perceptual distance is missing or is another one."""


class PerceptualDistance(nn.Module):
    """Images are (N, 3, H, W) float32 RGB in [-1, 1], H and W >= 21; the network is frozen, in eval mode."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(1, 3, 1, 1))
        self.register_buffer("scale", torch.ones(1, 3, 1, 1))
        # The numbers are the weight file's own, which counts all layers through. Stride 1 at the start and
        # blurring before each subsampling are what makes the distance tolerant of shifts.
        self.net = nn.ModuleDict(
            {
                "slice1": _stage({0: nn.Conv2d(3, 64, 11, padding=2), 1: _BlurDown(64), 2: nn.ReLU()}),
                "slice2": _stage(
                    {
                        3: nn.MaxPool2d(3, stride=1),
                        4: _BlurDown(64),
                        5: nn.Conv2d(64, 192, 5, padding=2),
                        6: nn.ReLU(),
                    }
                ),
                "slice3": _stage(
                    {
                        7: nn.MaxPool2d(3, stride=1),
                        8: _BlurDown(192),
                        9: nn.Conv2d(192, 384, 3, padding=1),
                        10: nn.ReLU(),
                    }
                ),
                "slice4": _stage({11: nn.Conv2d(384, 256, 3, padding=1), 12: nn.ReLU()}),
                "slice5": _stage({13: nn.Conv2d(256, 256, 3, padding=1), 14: nn.ReLU()}),
            }
        )
        # Learned weight of each channel: (1, C, 1, 1).
        for place, channels in enumerate(CHANNELS):
            self.register_buffer(f"lin{place}", torch.zeros(1, channels, 1, 1))

    @classmethod
    def load(cls, device: str | torch.device = "cpu") -> PerceptualDistance:
        """The network with the package's weights; PerceptualWeightsError says how to install them."""
        path = weights_path()
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            state = {_own_key(key): value for key, value in content.items()}
            # Without memory first: no random weights are drawn, so no caller's seed is disturbed.
            with torch.device("meta"):
                network = cls()
            network.load_state_dict(state, strict=True, assign=True)
        except Exception as error:  # a damaged pickle raises anything, from KeyError to EOFError
            raise PerceptualWeightsError(
                f"{path} is not the weight file of stlpips-pytorch 0.0.2: {INSTALL} --force-reinstall"
            ) from error
        return network.eval().requires_grad_(False).to(device)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The five activations: (N, 64, H/2, W/2), (N, 192, H/4, W/4), then H/8: 384, 256, 256 channels."""
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < MIN_SIZE:
            wanted = f"(N, 3, H, W), H and W >= {MIN_SIZE}"
            raise ConfigError(f"perceptual distance got images of shape {tuple(x.shape)}; wanted {wanted}")
        # Channels last halves the time on a CPU.
        x = ((x - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        found = []
        for stage in self.net.values():
            x = stage(x)
            found.append(x)
        return found

    def distance_map(self, a: list[Tensor], b: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Where two images differ, from their stages: (N, H, W), bilinear from each stage's own grid."""
        parts = [
            functional.interpolate(part, size, mode="bilinear", align_corners=False)
            for part in self._parts(a, b)
        ]
        return torch.stack(parts).sum(dim=0)[:, 0]

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The distance of each pair of images, (N,); 0 = equal, larger = less alike."""
        parts = self._parts(self.stages(a), self.stages(b))
        return torch.stack([part.mean(dim=(1, 2, 3)) for part in parts]).sum(dim=0)

    def features(self, x: Tensor) -> Tensor:
        """What is in each image, wherever it is: (N, 1152), see `features_from_stages`."""
        return self.features_from_stages(self.stages(x))

    @staticmethod
    def features_from_stages(stages: list[Tensor]) -> Tensor:
        """The mean over H and W of each channel of all five stages, (N, 1152).

        Each place is first scaled to unit length over its channels, as in the distance; the whole then so
        that the dot product of two images over 1152 is the mean, over stages and pairs of places, of cosines.
        """
        means: Tensor = torch.cat([_unit(stage).mean(dim=(2, 3)) for stage in stages], dim=1)
        return means * math.sqrt(sum(CHANNELS) / len(CHANNELS))

    def _parts(self, a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        """Each stage's weighted squared difference, (N, 1, H_k, W_k)."""
        weights = (self.get_buffer(f"lin{place}") for place in range(len(CHANNELS)))
        return [
            functional.conv2d((_unit(p) - _unit(q)).square(), weight)
            for p, q, weight in zip(a, b, weights, strict=True)
        ]


def weights_path() -> Path:
    """Where stlpips-pytorch keeps its AlexNet; finds the package without running it."""
    spec = find_spec(PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in places:
        path = Path(place) / "weights" / "vST0.0" / "alex_shift_tolerant.pth"
        if path.is_file():
            return path
    found = "is not installed" if spec is None else f"has no weight file in {places}"
    raise PerceptualWeightsError(f"{PACKAGE} {found}; the perceptual distance needs it: {INSTALL}")


class _BlurDown(nn.Module):
    """Binomial blur (1 2 1), stride 2, reflection padding of 2 on each side."""

    filt: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.zeros(channels, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (2, 2, 2, 2), mode="reflect")
        return functional.conv2d(padded, self.filt, stride=2, groups=x.shape[1])


def _stage(layers: dict[int, nn.Module]) -> nn.Sequential:
    stage = nn.Sequential()
    for number, layer in layers.items():
        stage.add_module(str(number), layer)
    return stage


def _own_key(key: str) -> str:
    """The weight file's `scaling_layer.shift` is our `shift`, its `lin0.model.1.weight` our `lin0`."""
    return key.removeprefix("scaling_layer.").removesuffix(".model.1.weight")


def _unit(stage: Tensor) -> Tensor:
    """Scaled to unit length over the channels at each place."""
    return stage / (stage.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
