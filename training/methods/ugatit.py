"""U-GAT-IT under training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from getgan.models.ugatit import (
    UgatitConfig,
    UgatitDiscriminator,
    UgatitDiscriminatorConfig,
    UgatitGenerator,
    clip_rho,
)
from getgan.training.config import ModelConfig, TrainConfig
from getgan.training.methods.parts import build_updates, by_name, detached
from getgan.training.pool import ImagePool
from getgan.training.steps import Losses, gan, l1
from getgan.training.updates import Numerics


class UGatIt:
    """Kim et al. 2020: a global and a local discriminator per domain, and class activation maps."""

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        model = config.model
        shape = UgatitConfig(
            ngf=model.ngf,
            blocks=model.ugatit_blocks,
            light=model.ugatit_light,
            size=config.data.size,
            widths=model.widths,
        )
        self._nets = by_name(
            UgatitGenerator(shape), UgatitGenerator(shape), _discriminators(model), _discriminators(model)
        )
        for net in self._nets.values():
            net.to(numerics.device)
        self.updates = build_updates(self._nets, config, numerics)
        self.pools: dict[str, ImagePool] = {}  # U-GAT-IT has none
        self._steps = numerics.recorded(self._both)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, and per domain a ModuleList of two discriminators."""
        return self._nets

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """The discriminators first, then the generators, as its authors train it."""
        return self._steps(x, y)

    def _both(self, x: Tensor, y: Tensor) -> Losses:
        g, h, loss = self._nets["forward"], self._nets["reverse"], self.loss
        with self.numerics.autocast():
            y_fake, x_fake = g(x), h(y)
            adversaries = {
                "disc_y": loss.lambda_gan * self._tell_apart("disc_y", y, y_fake.image.detach()),
                "disc_x": loss.lambda_gan * self._tell_apart("disc_x", x, x_fake.image.detach()),
            }
        self.updates.step_discriminators(adversaries)
        with self.numerics.autocast():
            y_fake, x_fake = g(x), h(y)
            y_same, x_same = g(y), h(x)
            losses = {
                "gan_y": loss.lambda_gan * self._fool("disc_y", y_fake.image),
                "gan_x": loss.lambda_gan * self._fool("disc_x", x_fake.image),
                "rec_x": loss.lambda_rec * l1(x, h(y_fake.image).image),
                "rec_y": loss.lambda_rec * l1(y, g(x_fake.image).image),
                "idt_y": loss.lambda_idt * l1(y, y_same.image),
                "idt_x": loss.lambda_idt * l1(x, x_same.image),
                "cam_y": loss.lambda_cam * _cam(y_fake.cam_logit, y_same.cam_logit),
                "cam_x": loss.lambda_cam * _cam(x_fake.cam_logit, x_same.cam_logit),
            }
        self.updates.step_generators(losses)
        clip_rho(g)
        clip_rho(h)
        return detached(losses | adversaries)

    def _tell_apart(self, name: str, real: Tensor, fake: Tensor) -> Tensor:
        """Both discriminators, on the picture and on their activation maps."""
        total = torch.zeros((), device=real.device)
        for disc in _children(self._nets[name]):
            for answer, target in ((disc(real), 1.0), (disc(fake), 0.0)):
                total = total + gan(answer.score, target) + gan(answer.cam_logit, target)
        return total

    def _fool(self, name: str, fake: Tensor) -> Tensor:
        total = torch.zeros((), device=fake.device)
        for disc in _children(self._nets[name]):
            answer = disc(fake)
            total = total + gan(answer.score, 1.0) + gan(answer.cam_logit, 1.0)
        return total


def _discriminators(model: ModelConfig) -> nn.ModuleList:
    return nn.ModuleList(
        UgatitDiscriminator(UgatitDiscriminatorConfig(ndf=model.ndf, layers=layers))
        for layers in (model.ugatit_global_layers, model.ugatit_local_layers)
    )


def _children(module: nn.Module) -> Iterator[nn.Module]:
    return module.children()


def _cam(shown: Tensor, same: Tensor) -> Tensor:
    """The generator's auxiliary classifier: x is of the source domain (1), y is not (0)."""
    bce = nn.functional.binary_cross_entropy_with_logits
    return bce(shown.float(), torch.ones_like(shown).float()) + bce(
        same.float(), torch.zeros_like(same).float()
    )
