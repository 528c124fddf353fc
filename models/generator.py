"""What an architecture tells the rest of the house; each has a file of its own, and a line in catalog.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from getgan.contract import SIGNED, Contract, Output, Range
from getgan.models.blocks import LEFT_OUT


class GeneratorConfig(Protocol):
    """A frozen dataclass of hyper-parameters, each with a default."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def in_channels(self) -> int:
        """Of the picture that goes in."""

    @property
    def out_channels(self) -> int:
        """Of the picture that comes out."""

    @property
    def multiple_of(self) -> int:
        """Of height and width."""


class Generator(nn.Module):
    """A network that translates pictures, and the description of its architecture.

    Height and width are multiples of `multiple_of`, at least `min_size`.
    """

    arch: ClassVar[str]  # its name in files
    config_class: ClassVar[type[Any]]
    layout: ClassVar[str] = ""  # what `recognised` knows, in words; "" = nothing
    value_range: ClassVar[Range] = SIGNED  # of pictures, in and out
    # Fields of the config that no key tells: a flag or an options file may, else they have their default.
    assumed: ClassVar[tuple[str, ...]] = ()
    # The part that the face does not need: by its name in the state dict, which is also its output's, or a
    # name for what only `whole` computes. Export takes it out and proves that the face stays what it was, bit
    # for bit. "" = there is none.
    branch: ClassVar[str] = ""

    config: GeneratorConfig

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config = self.config_class() if config is None else config

    @classmethod
    def recognised(cls, state: Mapping[str, Tensor]) -> GeneratorConfig | None:
        """The config of a bare state dict, None = not this architecture; the caller checks every key."""
        return None

    @property
    def multiple_of(self) -> int:
        """Height and width are multiples of this."""
        return self.config.multiple_of

    @property
    def min_size(self) -> int:
        """Smallest legal height and width: the trunk's must exceed its blocks' reflection padding of 1."""
        return 2 * self.multiple_of

    @property
    def native_size(self) -> int:
        """Height and width for a file that does not say: CycleGAN's crop."""
        return 256

    @property
    def fixed(self) -> bool:
        """Whether the network takes min_size x min_size and nothing else."""
        return False

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What `answer` can give, in the order of OUTPUTS."""
        return ("face",)

    def translate(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float RGB in value_range -> the same."""
        raise NotImplementedError

    def answer(self, x: Tensor, outputs: Sequence[Output]) -> dict[str, Tensor]:
        """The wanted outputs by name, and perhaps more; this is what export traces."""
        return {"face": self.translate(x)}

    def whole(self, x: Tensor) -> Tensor:
        """The face by the forward pass that training uses, with all that goes with it."""
        return self.answer(x, self.outputs)["face"]

    def contract(self, size: int) -> Contract:
        """What a checkpoint and a bundle say of the pictures; ConfigError for a size that it cannot take."""
        size = self.min_size if self.fixed else size
        return Contract(size, self.min_size, self.multiple_of, range=self.value_range, fixed=self.fixed)


def record_of(config: GeneratorConfig) -> dict[str, Any]:
    """The config as files hold it: all fields but those that are left out where they have their default."""
    return {
        field.name: value
        for field in fields(config)
        if (value := getattr(config, field.name)) != field.default or LEFT_OUT not in field.metadata
    }
