"""The one list of architectures that a checkpoint can hold, in the order in which a state dict is tried."""

from __future__ import annotations

from getgan.models.animegan import AnimeGan
from getgan.models.generator import Generator
from getgan.models.getgan import GetGanGenerator
from getgan.models.resnet import ResnetGenerator
from getgan.models.transformernet import TransformerNet
from getgan.models.ugatit import UgatitGenerator
from getgan.models.unet import UnetGenerator

ARCHITECTURES: tuple[type[Generator], ...] = (
    GetGanGenerator,
    ResnetGenerator,
    UnetGenerator,
    UgatitGenerator,
    TransformerNet,
    AnimeGan,
)
