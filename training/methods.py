"""The systems that the one training loop can train: GET-GAN, CycleGAN, U-GAT-IT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from getgan.models.blocks import init_weights
from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.models.patchgan import PatchGan, PatchGanConfig
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.models.ugatit import (
    UgatitConfig,
    UgatitDiscriminator,
    UgatitDiscriminatorConfig,
    UgatitGenerator,
    clip_rho,
)
from getgan.training import steps
from getgan.training.config import LossConfig, ModelConfig, OptimConfig, TrainConfig
from getgan.training.pool import ImagePool
from getgan.training.steps import GetGanNets, Losses, gan, l1


@dataclass(frozen=True)
class Numerics:
    """Where and in which precision a run computes."""

    device: torch.device
    precision: str = "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which networks run; losses and W_e are float32 whatever it says."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)


class Updates:
    """Two Adam optimizers, one for all generators and one for both discriminators, and how they step."""

    def __init__(
        self, generators: list[nn.Module], judges: list[nn.Module], config: OptimConfig, numerics: Numerics
    ) -> None:
        self.config, self.numerics = config, numerics
        self.generators = [p for module in generators for p in module.parameters()]
        self.judges = [p for module in judges for p in module.parameters()]
        betas = (config.beta1, config.beta2)
        self.adam_g = torch.optim.Adam(self.generators, lr=config.lr, betas=betas)
        self.adam_d = torch.optim.Adam(self.judges, lr=config.lr, betas=betas)
        self.scaler = torch.amp.GradScaler(numerics.device.type, enabled=numerics.precision == "fp16")

    def set_rate(self, iteration: int) -> float:
        """Constant, then linear to 0; the same for both optimizers."""
        share = iteration / self.config.iterations
        start = self.config.decay_from
        factor = 1.0 if share < start or start >= 1 else max(0.0, (1.0 - share) / (1.0 - start))
        for adam in (self.adam_g, self.adam_d):
            for group in adam.param_groups:
                group["lr"] = self.config.lr * factor
        return self.config.lr * factor

    def step_generators(self, losses: Losses) -> None:
        """One Adam step of every generator parameter that the losses reach; no other moves."""
        self._step(self.adam_g, self.generators, losses)

    def step_judges(self, losses: Losses) -> None:
        """One Adam step of the discriminators."""
        self._step(self.adam_d, self.judges, losses)

    def _step(self, adam: torch.optim.Adam, own: list[nn.Parameter], losses: Losses) -> None:
        # None, not 0: Adam then skips what the losses do not reach, momentum included.
        for parameter in (*self.generators, *self.judges):
            parameter.grad = None
        total = sum(losses.values(), torch.zeros((), device=self.numerics.device))
        torch.autograd.backward(self.scaler.scale(total))
        _average_gradients(own)
        self.scaler.step(adam)
        self.scaler.update()

    def state(self) -> dict[str, object]:
        """What a resumed run needs."""
        return {
            "adam_g": self.adam_g.state_dict(),
            "adam_d": self.adam_d.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state(self, state: dict[str, dict[str, object]]) -> None:
        """Take up what `state` gave."""
        self.adam_g.load_state_dict(state["adam_g"])
        self.adam_d.load_state_dict(state["adam_d"])
        self.scaler.load_state_dict(state["scaler"])


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    """Mean of the gradients over all processes, in one message; the same parameters have one everywhere."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    offset = 0
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()


class Method(Protocol):
    """A system under training."""

    updates: Updates
    pools: dict[str, ImagePool]

    @property
    def nets(self) -> dict[str, nn.Module]:
        """Every network by name; "forward" translates X to Y, "reverse" Y to X."""

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """One whole iteration on a batch; the loss terms, detached."""


class GetGan:
    """The five steps; see training/steps.py."""

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        model = config.model
        self._nets = GetGanNets(
            GetGanGenerator(getgan_config(model)),
            _reverse(model, model.reverse_blocks),
            _patchgan(model),
            _patchgan(model),
        )
        _prepare(self.nets, config, numerics)
        self.updates = _updates(self.nets, config, numerics)
        self.pools = _pools(config)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, D_Y, D_X."""
        return _by_name(*(getattr(self._nets, n) for n in ("forward", "reverse", "disc_y", "disc_x")))

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
            fourth, x_fake = steps.step4_reverse(nets, y, loss)
        g.step_generators(fourth)
        judged = self._judge(x, y, y_star, x_fake)
        with self.numerics.autocast():
            fifth = steps.step5_identity(nets, x, y, loss)
        g.step_generators(fifth)
        for part in (first, third, fourth, judged, fifth):
            done.update(part)
        return _detached(done, w_e=w_e.mean(), y_error=out.y_error.float().abs().mean())

    def _joint(self, x: Tensor, y: Tensor) -> Losses:
        """The same losses on one forward of x, accumulated into one generator step."""
        nets, loss = self._nets, self.loss
        with self.numerics.autocast():
            out = nets.forward(x)
            losses = steps.step1_face(nets, out.y_star, loss)
            w_e = steps.step2_gradient_weight(nets, x, out.y_star, loss)
            losses |= steps.step3_weighted_cycle(nets, x, out, w_e, loss)
            fourth, x_fake = steps.step4_reverse(nets, y, loss)
            losses |= fourth | steps.step5_identity(nets, x, y, loss)
        self.updates.step_generators(losses)
        losses |= self._judge(x, y, out.y_star, x_fake)
        return _detached(losses, w_e=w_e.mean(), y_error=out.y_error.float().abs().mean())

    def _judge(self, x: Tensor, y: Tensor, y_star: Tensor, x_fake: Tensor) -> Losses:
        with self.numerics.autocast():
            judged = steps.discriminators(
                self._nets.disc_y, self._nets.disc_x, {"y": y, "x": x}, {"y": y_star, "x": x_fake}, self.pools
            )
        self.updates.step_judges(judged)
        return judged


class CycleGan:
    """Zhu et al. 2017: one generator step on all losses, then the discriminators."""

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        model = config.model
        self._nets = _by_name(
            _reverse(model, model.shared_blocks + model.branch_blocks),
            _reverse(model, model.reverse_blocks),
            _patchgan(model),
            _patchgan(model),
        )
        _prepare(self._nets, config, numerics)
        self.updates = _updates(self._nets, config, numerics)
        self.pools = _pools(config)

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, D_Y, D_X."""
        return self._nets

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """One generator step, one discriminator step."""
        g, h, loss = self._nets["forward"], self._nets["reverse"], self.loss
        disc_y, disc_x = self._nets["disc_y"], self._nets["disc_x"]
        with self.numerics.autocast():
            y_fake, x_fake = g(x), h(y)
            losses = {
                "gan_y": loss.lambda_gan * gan(disc_y(y_fake), 1.0),
                "gan_x": loss.lambda_gan * gan(disc_x(x_fake), 1.0),
                "rec_x": loss.lambda_rec * l1(x, h(y_fake)),
                "rec_y": loss.lambda_rec * l1(y, g(x_fake)),
                "idt_y": loss.lambda_idt * l1(y, g(y)),
                "idt_x": loss.lambda_idt * l1(x, h(x)),
            }
        self.updates.step_generators(losses)
        with self.numerics.autocast():
            judged = steps.discriminators(
                disc_y, disc_x, {"y": y, "x": x}, {"y": y_fake, "x": x_fake}, self.pools
            )
        self.updates.step_judges(judged)
        return _detached(losses | judged)


class UGatIt:
    """Kim et al. 2020: a global and a local discriminator per domain, and class activation maps."""

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        model = config.model
        shape = UgatitConfig(
            ngf=model.ngf, blocks=model.ugatit_blocks, light=model.ugatit_light, size=config.data.size
        )
        self._nets = _by_name(
            UgatitGenerator(shape), UgatitGenerator(shape), _ugatit_judges(model), _ugatit_judges(model)
        )
        for net in self._nets.values():
            net.to(numerics.device)
        self.updates = _updates(self._nets, config, numerics)
        self.pools: dict[str, ImagePool] = {}  # U-GAT-IT has none

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G, H, and per domain a ModuleList of two discriminators."""
        return self._nets

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """The discriminators first, then the generators, as its authors train it."""
        g, h, loss = self._nets["forward"], self._nets["reverse"], self.loss
        with self.numerics.autocast():
            y_fake, x_fake = g(x), h(y)
            judged = {
                "disc_y": loss.lambda_gan * self._judge("disc_y", y, y_fake.image.detach()),
                "disc_x": loss.lambda_gan * self._judge("disc_x", x, x_fake.image.detach()),
            }
        self.updates.step_judges(judged)
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
        return _detached(losses | judged)

    def _judge(self, name: str, real: Tensor, fake: Tensor) -> Tensor:
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


def build_method(config: TrainConfig, numerics: Numerics) -> Method:
    """The system that a config names, with freshly drawn weights (a function of run.seed)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        kinds: dict[str, type[GetGan] | type[CycleGan] | type[UGatIt]] = {
            "getgan": GetGan,
            "cyclegan": CycleGan,
            "ugatit": UGatIt,
        }
        return kinds[config.model.method](config, numerics)


def getgan_config(model: ModelConfig) -> GetGanConfig:
    """The generator's hyper-parameters among a run's."""
    return GetGanConfig(
        ngf=model.ngf,
        shared_blocks=model.shared_blocks,
        branch_blocks=model.branch_blocks,
        gate=model.gate,
        up=model.up,
        norm=model.norm,
    )


def _reverse(model: ModelConfig, blocks: int) -> ResnetGenerator:
    return ResnetGenerator(ResnetConfig(ngf=model.ngf, blocks=blocks, norm=model.norm, up=model.up))


def _patchgan(model: ModelConfig) -> PatchGan:
    return PatchGan(PatchGanConfig(ndf=model.ndf, layers=model.discriminator_layers, norm=model.norm))


def _ugatit_judges(model: ModelConfig) -> nn.ModuleList:
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


def _by_name(
    forward: nn.Module, reverse: nn.Module, disc_y: nn.Module, disc_x: nn.Module
) -> dict[str, nn.Module]:
    return {"forward": forward, "reverse": reverse, "disc_y": disc_y, "disc_x": disc_x}


def _prepare(nets: dict[str, nn.Module], config: TrainConfig, numerics: Numerics) -> None:
    """CycleGAN's initial weights, drawn on the CPU so that a seed gives the same on every machine."""
    draw = torch.Generator().manual_seed(config.run.seed)
    for net in nets.values():
        init_weights(net, draw)
        net.to(numerics.device)


def _updates(nets: dict[str, nn.Module], config: TrainConfig, numerics: Numerics) -> Updates:
    return Updates(
        [nets["forward"], nets["reverse"]], [nets["disc_y"], nets["disc_x"]], config.optim, numerics
    )


def _pools(config: TrainConfig) -> dict[str, ImagePool]:
    rank = dist.get_rank() if dist.is_initialized() else 0
    return {
        domain: ImagePool(config.optim.pool, (config.run.seed, rank, place))
        for place, domain in enumerate(("y", "x"))
    }


def _detached(losses: Losses, **more: Tensor) -> Losses:
    return {name: value.detach() for name, value in (losses | more).items()}


__all__ = ["CycleGan", "GetGan", "LossConfig", "Method", "Numerics", "UGatIt", "Updates", "build_method"]
