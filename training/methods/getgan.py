"""GET-GAN under training: the five steps, in the talk's order or as one update."""

from __future__ import annotations

from torch import Tensor, nn

from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.training import steps
from getgan.training.config import ModelConfig, TrainConfig
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
from getgan.training.pool import KeptImages
from getgan.training.steps import GetGanNets, Losses
from getgan.training.updates import Numerics
from getgan.training.weight import ErrorScale, hidden_by

CLEAN = "clean"  # the pool of scans in which nothing is hidden
# Share of a scan that W_e calls hidden. Of 100 rendered scans each it was 0.08 to 0.24 with an occluder and
# 0.002 at most without.
CLEAN_BELOW = 0.02
Drawn = tuple[Losses, Tensor, Tensor, Tensor]  # of a generator step, with W_e, y_* and x' for what comes next


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
        joint = config.optim.updates == "joint"
        self._generators = numerics.recorded(self._step_jointly if joint else self._step_by_step)
        self._discriminators = adversaries_step(self.nets, self.updates, numerics)
        self._identity = numerics.recorded(self._step_identity)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, D_Y, D_X."""
        nets = by_name(*(getattr(self._nets, n) for n in ("forward", "reverse", "disc_y", "disc_x")))
        return nets if self._nets.scale is None else nets | {"scale": self._nets.scale}

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """Five Adam steps in the talk's order, or one for all with updates = "joint"."""
        losses, w_e, y_star, x_fake = self._generators(x, y)
        shown = self._shown(x, w_e)
        fakes = self.pools["y"].query(y_star), self.pools["x"].query(x_fake)
        losses = losses | self._discriminators(shown, y, *fakes)
        return losses | self._identity(x, y) if self.updates.config.updates == "sequential" else losses

    def _step_by_step(self, x: Tensor, y: Tensor) -> Drawn:
        """Steps 1 to 4, each with a forward and an Adam step of its own."""
        nets, loss, g = self._nets, self.loss, self.updates
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
        return _drawn(first | third | fourth, w_e, out.y_error, y_star, x_fake)

    def _step_identity(self, x: Tensor, y: Tensor) -> Losses:
        """Step 5."""
        with self.numerics.autocast():
            fifth = steps.step5_identity(self._nets, x, y, self.loss)
        self.updates.step_generators(fifth)
        return detached(fifth)

    def _step_jointly(self, x: Tensor, y: Tensor) -> Drawn:
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
        return _drawn(losses, w_e, out.y_error, out.y_star, x_fake)

    def _shown(self, x: Tensor, w_e: Tensor) -> Tensor:
        """The scans that D_X learns from: x, or as many in which nothing is hidden, as far as W_e knows."""
        if not self.loss.clean_x:
            return x
        kept = self.pools[CLEAN]
        assert isinstance(kept, KeptImages)
        kept.keep(x[hidden_by(w_e).mean(dim=(1, 2, 3)) < CLEAN_BELOW])
        return kept.draw(len(x)) if kept.images else x


def _drawn(losses: Losses, w_e: Tensor, y_error: Tensor, y_star: Tensor, x_fake: Tensor) -> Drawn:
    done = detached(losses, w_e=w_e.mean(), y_error=y_error.float().abs().mean())
    return done, w_e, y_star.detach(), x_fake


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
