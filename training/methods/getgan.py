"""GET-GAN under training: the five steps, in the talk's order or as one update."""

from __future__ import annotations

from torch import Tensor, nn

from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.training import steps
from getgan.training.config import ModelConfig, TrainConfig
from getgan.training.methods.parts import (
    build_updates,
    by_name,
    detached,
    patchgan,
    pools,
    prepare,
    reverse_generator,
)
from getgan.training.pool import KeptImages
from getgan.training.steps import GetGanNets, Losses
from getgan.training.updates import Numerics
from getgan.training.weight import ErrorScale, hidden_by

CLEAN = "clean"  # the pool of scans in which nothing is hidden
# Share of a scan that W_e calls hidden. Of 100 rendered scans each it was 0.08 to 0.24 with an occluder and
# 0.002 at most without.
CLEAN_BELOW = 0.02


class GetGan:
    """The five steps; see training/steps.py."""

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        model = config.model
        self._nets = GetGanNets(
            GetGanGenerator(getgan_config(model)),
            reverse_generator(model, model.reverse_blocks),
            patchgan(model),
            patchgan(model),
            ErrorScale() if config.loss.weight_of == "residual" else None,
        )
        prepare(self.nets, config, numerics)
        self.updates = build_updates(self.nets, config, numerics)
        self.pools = pools(config, *([CLEAN] if config.loss.clean_x else []))

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, D_Y, D_X."""
        nets = by_name(*(getattr(self._nets, n) for n in ("forward", "reverse", "disc_y", "disc_x")))
        return nets if self._nets.scale is None else nets | {"scale": self._nets.scale}

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """Five Adam steps in the talk's order, or one for all with updates = "joint"."""
        if self.updates.config.updates == "joint":
            return self._joint(x, y)
        nets, loss, g = self._nets, self.loss, self.updates
        done: Losses = {}
        with self.numerics.autocast():
            y_star = nets.forward.translate(x)
            first = steps.step1_face(nets, y_star, loss)
        g.step_generators(first)
        with self.numerics.autocast():
            out = nets.forward(x)
            w_e = steps.step2_gradient_weight(nets, x, out.y_star, loss)
            third = steps.step3_weighted_cycle(nets, x, out, w_e, loss)
        g.step_generators(third)
        with self.numerics.autocast():
            fourth, x_fake = steps.step4_reverse(nets, x, y, w_e, loss)
        g.step_generators(fourth)
        adversaries = self._step_discriminators(self._shown(x, w_e), y, y_star, x_fake)
        with self.numerics.autocast():
            fifth = steps.step5_identity(nets, x, y, loss)
        g.step_generators(fifth)
        for part in (first, third, fourth, adversaries, fifth):
            done.update(part)
        return detached(done, w_e=w_e.mean(), y_error=out.y_error.float().abs().mean())

    def _joint(self, x: Tensor, y: Tensor) -> Losses:
        """The same losses on one forward of x, accumulated into one generator step."""
        nets, loss = self._nets, self.loss
        with self.numerics.autocast():
            out = nets.forward(x)
            losses = steps.step1_face(nets, out.y_star, loss)
            w_e = steps.step2_gradient_weight(nets, x, out.y_star, loss)
            losses |= steps.step3_weighted_cycle(nets, x, out, w_e, loss)
            fourth, x_fake = steps.step4_reverse(nets, x, y, w_e, loss)
            losses |= fourth | steps.step5_identity(nets, x, y, loss)
        self.updates.step_generators(losses)
        losses |= self._step_discriminators(self._shown(x, w_e), y, out.y_star, x_fake)
        return detached(losses, w_e=w_e.mean(), y_error=out.y_error.float().abs().mean())

    def _shown(self, x: Tensor, w_e: Tensor) -> Tensor:
        """The scans that D_X learns from: x, or as many in which nothing is hidden, as far as W_e knows."""
        if not self.loss.clean_x:
            return x
        kept = self.pools[CLEAN]
        assert isinstance(kept, KeptImages)
        kept.keep(x[hidden_by(w_e).mean(dim=(1, 2, 3)) < CLEAN_BELOW])
        return kept.draw(len(x)) if kept.images else x

    def _step_discriminators(self, x: Tensor, y: Tensor, y_star: Tensor, x_fake: Tensor) -> Losses:
        with self.numerics.autocast():
            adversaries = steps.discriminators(
                self._nets.disc_y, self._nets.disc_x, {"y": y, "x": x}, {"y": y_star, "x": x_fake}, self.pools
            )
        self.updates.step_discriminators(adversaries)
        return adversaries


def getgan_config(model: ModelConfig) -> GetGanConfig:
    """The generator's hyper-parameters among a run's."""
    return GetGanConfig(
        ngf=model.ngf,
        shared_blocks=model.shared_blocks,
        branch_blocks=model.branch_blocks,
        gate=model.gate,
        up=model.up,
        norm=model.norm,
        widths=model.widths,
        stride=model.stride,
    )
