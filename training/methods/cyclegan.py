"""CycleGAN under training."""

from __future__ import annotations

from torch import Tensor, nn

from getgan.training.config import TrainConfig
from getgan.training.methods.parts import (
    adversaries_step,
    build_updates,
    by_name,
    detached,
    patchgan,
    pools,
    prepare,
    reverse_generator,
)
from getgan.training.steps import Losses, gan, l1, noisy
from getgan.training.updates import Numerics
from getgan.training.weight import unlike


class CycleGan:
    """Zhu et al. 2017: one generator step on all losses, then the discriminators."""

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        model = config.model
        self._nets = by_name(
            reverse_generator(model, model.shared_blocks + model.branch_blocks),
            reverse_generator(model, model.reverse_blocks),
            patchgan(model),
            patchgan(model),
        )
        prepare(self._nets, config, numerics)
        self.updates = build_updates(self._nets, config, numerics)
        self.pools = pools(config)
        self._generators = numerics.recorded(self._step_generators)
        self._discriminators = adversaries_step(self._nets, self.updates, numerics)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, D_Y, D_X."""
        return self._nets

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """One generator step, one discriminator step."""
        losses, y_fake, x_fake = self._generators(x, y)
        fakes = self.pools["y"].query(y_fake), self.pools["x"].query(x_fake)
        return losses | self._discriminators(x, y, *fakes)

    def _step_generators(self, x: Tensor, y: Tensor) -> tuple[Losses, Tensor, Tensor]:
        """Losses and the fakes of both domains."""
        g, h, loss = self._nets["forward"], self._nets["reverse"], self.loss
        disc_y, disc_x = self._nets["disc_y"], self._nets["disc_x"]
        with self.numerics.autocast():
            y_fake, x_fake = g(x), h(y)
            losses = {
                "gan_y": loss.lambda_gan * gan(disc_y(y_fake), 1.0),
                "gan_x": loss.lambda_gan * gan(disc_x(x_fake), 1.0),
                "rec_x": loss.lambda_rec * unlike(x, h(noisy(y_fake, loss)), loss).mean(),
                "rec_y": loss.lambda_rec * l1(y, g(noisy(x_fake, loss))),
                "idt_y": loss.lambda_idt * l1(y, g(y)),
                "idt_x": loss.lambda_idt * l1(x, h(x)),
            }
        self.updates.step_generators(losses)
        return detached(losses), y_fake.detach(), x_fake.detach()
