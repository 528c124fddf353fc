"""The systems that the one training loop can train: GET-GAN (or a pupil of one), CycleGAN, U-GAT-IT."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from getgan.training.config import TrainConfig
from getgan.training.methods.cyclegan import CycleGan
from getgan.training.methods.distil import Distil
from getgan.training.methods.getgan import GetGan
from getgan.training.methods.trunk import Trunk
from getgan.training.methods.ugatit import UGatIt
from getgan.training.pool import ImagePool
from getgan.training.steps import Losses
from getgan.training.updates import Numerics, Updates

Pupil = Distil | Trunk  # with `learn_from`; of config.TAUGHT


class Method(Protocol):
    """A system under training."""

    updates: Updates
    pools: dict[str, ImagePool]

    @property
    def nets(self) -> dict[str, nn.Module]:
        """Every network by name; "forward" translates X to Y, "reverse", if there, Y to X."""

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """One whole iteration on a batch; the loss terms, detached."""


def build_method(config: TrainConfig, numerics: Numerics) -> Method:
    """The system that a config names, with freshly drawn weights (a function of run.seed)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        kinds: dict[str, type[GetGan] | type[CycleGan] | type[UGatIt] | type[Pupil]] = {
            "getgan": GetGan,
            "cyclegan": CycleGan,
            "ugatit": UGatIt,
            "distil": Distil,
            "trunk": Trunk,
        }
        return kinds[config.model.method](config, numerics)
