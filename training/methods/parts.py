"""What the systems have in common: networks by name, initial weights, optimizers, image pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from getgan.models.blocks import init_weights
from getgan.models.patchgan import PatchGan, PatchGanConfig, ScaledPatchGan
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.training.config import ModelConfig, TrainConfig
from getgan.training.pool import ImagePool, KeptImages
from getgan.training.steps import Losses, discriminators
from getgan.training.updates import Numerics, Updates


def reverse_generator(model: ModelConfig, blocks: int) -> ResnetGenerator:
    """H, or CycleGAN's G: a ResNet generator with as many blocks."""
    return ResnetGenerator(
        ResnetConfig(
            ngf=model.ngf,
            blocks=blocks,
            norm=model.norm,
            up=model.up,
            widths=model.widths,
            stride=model.stride,
        )
    )


def patchgan(model: ModelConfig) -> PatchGan | ScaledPatchGan:
    """A 70x70 PatchGAN, or of as many layers and scales as the config says."""
    config = PatchGanConfig(ndf=model.ndf, layers=model.discriminator_layers, norm=model.norm)
    scales = model.discriminator_scales
    return PatchGan(config) if scales == 1 else ScaledPatchGan(config, scales)


def by_name(
    forward: nn.Module, reverse: nn.Module, disc_y: nn.Module, disc_x: nn.Module
) -> dict[str, nn.Module]:
    """The networks as every system names them."""
    return {"forward": forward, "reverse": reverse, "disc_y": disc_y, "disc_x": disc_x}


def prepare(nets: dict[str, nn.Module], config: TrainConfig, numerics: Numerics) -> None:
    """CycleGAN's initial weights, drawn on the CPU so that a seed gives the same on every machine."""
    draw = torch.Generator().manual_seed(config.run.seed)
    for net in nets.values():
        init_weights(net, draw)
        net.to(numerics.device)


def build_updates(nets: dict[str, nn.Module], config: TrainConfig, numerics: Numerics) -> Updates:
    """Both optimizers over these networks."""
    return Updates(
        [nets["forward"], nets["reverse"]], [nets["disc_y"], nets["disc_x"]], config.optim, numerics
    )


def pools(config: TrainConfig, *kept: str) -> dict[str, ImagePool]:
    """An image pool per domain, and those that are kept to draw from; each with a seed of its own."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    return {
        name: (KeptImages if name in kept else ImagePool)(config.optim.pool, (config.run.seed, rank, place))
        for place, name in enumerate(("y", "x", *kept))
    }


def adversaries_step(
    nets: Mapping[str, nn.Module], updates: Updates, numerics: Numerics
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Losses]:
    """One Adam step of D_Y and D_X: of x, y and the fakes of both domains, y's first, out of their pools."""

    def step(x: Tensor, y: Tensor, y_fake: Tensor, x_fake: Tensor) -> Losses:
        with numerics.autocast():
            told = discriminators(
                nets["disc_y"], nets["disc_x"], {"y": y, "x": x}, {"y": y_fake, "x": x_fake}
            )
        updates.step_discriminators(told)
        return detached(told)

    return numerics.recorded(step)


def detached(losses: Losses, **more: Tensor) -> Losses:
    """Losses and more figures for the log, cut from the graph."""
    return {name: value.detach() for name, value in (losses | more).items()}
