"""How a run computes, and the two Adam optimizers that move its networks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from getgan.training.config import OptimConfig
from getgan.training.recorded import Recorded
from getgan.training.steps import Losses

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Numerics:
    """Where and in which precision a run computes."""

    device: torch.device
    precision: str = "fp32"
    recorder: Recorded | None = None  # of CUDA graphs

    def recorded(self, function: Callable[..., Answer]) -> Callable[..., Answer]:
        """The function as it is, or as a CUDA graph: see training/recorded.py for what it must keep to."""
        return function if self.recorder is None else self.recorder(function)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which networks run; losses and W_e are float32 whatever it says."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)


class Updates:
    """Two Adam optimizers, one for all generators and one for both discriminators, and how they step."""

    def __init__(
        self,
        generators: list[nn.Module],
        discriminators: list[nn.Module],
        config: OptimConfig,
        numerics: Numerics,
    ) -> None:
        self.config, self.numerics = config, numerics
        self.generators = [p for module in generators for p in module.parameters()]
        self.discriminators = [p for module in discriminators for p in module.parameters()]
        betas = (config.beta1, config.beta2)
        graphs = numerics.recorder is not None  # a recorded step reads its rate where it lies on the GPU
        self.adam_g, self.adam_d = (
            torch.optim.Adam(
                own,
                lr=torch.tensor(config.lr, device=numerics.device) if graphs else config.lr,
                betas=betas,
                capturable=graphs,
                fused=graphs or None,
            )
            for own in (self.generators, self.discriminators)
        )
        self.scaler = torch.amp.GradScaler(numerics.device.type, enabled=numerics.precision == "fp16")

    def set_rate(self, iteration: int) -> float:
        """Constant, then linear to 0; the same for both optimizers."""
        share = iteration / self.config.iterations
        start = self.config.decay_from
        factor = 1.0 if share < start or start >= 1 else max(0.0, (1.0 - share) / (1.0 - start))
        for adam in (self.adam_g, self.adam_d):
            for group in adam.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(self.config.lr * factor)
                else:
                    group["lr"] = self.config.lr * factor
        return self.config.lr * factor

    def step_generators(self, losses: Losses) -> None:
        """One Adam step of every generator parameter that the losses reach; no other moves."""
        self._step(self.adam_g, self.generators, losses)

    def step_discriminators(self, losses: Losses) -> None:
        """One Adam step of the discriminators."""
        self._step(self.adam_d, self.discriminators, losses)

    def _step(self, adam: torch.optim.Adam, own: list[nn.Parameter], losses: Losses) -> None:
        # None, not 0: Adam then skips what the losses do not reach, momentum included.
        for parameter in own:
            parameter.grad = None
        total = sum(losses.values(), torch.zeros((), device=self.numerics.device))
        # Of the other networks no gradient is wanted, and a third of theirs is not computed then.
        torch.autograd.backward(self.scaler.scale(total), inputs=own)
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

    @property
    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """What each optimizer moves, by its name in `state`."""
        return {"adam_g": self.generators, "adam_d": self.discriminators}

    def load_state(self, state: dict[str, dict[str, object]]) -> None:
        """Take up what `state` gave; rates and betas are the config's."""
        for name, adam in (("adam_g", self.adam_g), ("adam_d", self.adam_d)):
            groups = adam.state_dict()["param_groups"]
            adam.load_state_dict({"state": state[name]["state"], "param_groups": groups})
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
