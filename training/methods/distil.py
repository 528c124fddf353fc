"""Distillation: a GET-GAN for larger pictures learns from a trained one for smaller ones."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.errors import TrainingError
from getgan.models.getgan import GetGanGenerator, GetGanOutput
from getgan.training import steps
from getgan.training.config import TrainConfig
from getgan.training.methods.getgan import CLEAN, getgan_config
from getgan.training.methods.hiding import (
    drawn_between,
    grown,
    hidden_in,
    laid_over_each,
    shut,
    transplanted,
    with_clean_scans,
)
from getgan.training.methods.mirror import both_ways
from getgan.training.methods.parts import detached, patchgan, pools, prepare
from getgan.training.steps import Losses, apart, gan, l1
from getgan.training.updates import Numerics, Updates

AFAR = (20, 10)  # windows of `from_afar`: this part of the height, rounded down


class Distil:
    """Reduced to the teacher's size, face, error and gate are the teacher's; at full size a photo is wanted.

    No cycle runs, so nothing that the five steps have learned can be unlearned, and an iteration costs a
    third. What the pictures gain is what D_Y wants to see at the larger size. With `transplant` every second
    scan has what hides another one's face laid over it, and the teacher sees it without: so the larger
    network learns what lies behind from one that could look. With `teacher_sees` the teacher's face counts
    where it saw it, and its guesses do not. With `clean_x` the scans that get such an occluder are those in
    which the teacher finds none, so that it has seen all that the network must guess. With `mirror` the
    teacher sees the scan's mirror image too, and what it then does otherwise is halved. With `teacher_real`
    D_Y tells the pupil's faces from the teacher's, not from photos.
    """

    name = "distil"  # in a config

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        self._size = config.data.size
        self._forward = GetGanGenerator(getgan_config(config.model))
        self._disc_y = patchgan(config.model)
        prepare(self.nets, config, numerics)
        self.updates = Updates([self._forward], [self._disc_y], config.optim, numerics)
        self.pools = pools(config, *([CLEAN] if config.loss.clean_x else []))
        self._teacher: GetGanGenerator | None = None
        self._times = 1  # how much smaller the teacher's pictures are

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G and D_Y."""
        return {"forward": self._forward, "disc_y": self._disc_y}

    def learn_from(self, teacher: nn.Module, size: int) -> None:
        """Take a trained generator and the side of its pictures; TrainingError if it cannot teach."""
        if not isinstance(teacher, GetGanGenerator):
            raise TrainingError(f"the teacher is a {type(teacher).__name__}; wanted a GET-GAN generator")
        if size > self._size or self._size % size:
            raise TrainingError(
                f"the teacher's pictures have {size} pixels, this run's {self._size}; "
                "wanted a whole multiple: change data.size, or name another teacher"
            )
        if size != self._size and self.loss.teacher_real:
            raise TrainingError(
                f"the teacher's pictures have {size} pixels, this run's {self._size}, so D_Y cannot take "
                f"them for real ones; wanted a teacher of {self._size}, or loss.teacher_real=false"
            )
        if (teacher.gate is None) != (self._forward.gate is None):
            raise TrainingError("of the teacher and model.gate one has no gate; wanted both with or without")
        self._times = self._size // size
        self._teacher = teacher.to(self.numerics.device).eval().requires_grad_(False)

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """One generator step, one discriminator step."""
        loss = self.loss
        with self.numerics.autocast():
            taught = self._taught(x)
            if loss.clean_x:
                x = with_clean_scans(x, hidden_in(taught), self.pools[CLEAN])
                taught = self._taught(x)
            counts = None
            if loss.teacher_sees or loss.transplant:
                found = hidden_in(taught)
                hides = grown(found, drawn_between(loss.hidden_rim))
                if loss.teacher_sees:
                    counts = 1.0 - hides
            if loss.transplant:
                laid = laid_over_each(hides)
                x, taught = transplanted(x, taught, laid, laid_over_each(found))
                if loss.hidden_gain != 1.0:
                    counts = (1.0 if counts is None else counts) * (1.0 + (loss.hidden_gain - 1.0) * laid)
            out = self._forward(x)
            losses = {
                "gan_y": loss.lambda_gan * gan(self._shown(out.y_star), 1.0),
                "face": loss.lambda_teacher * apart(self._reduced(out.y_star), taught.y_star, counts),
                "error": 0.1 * loss.lambda_error * l1(self._reduced(out.y_error), taught.y_error),
            }
            if loss.teacher_afar:
                seen = from_afar(self._reduced(out.y_star), taught.y_star, counts)
                losses["afar"] = loss.lambda_teacher * loss.teacher_afar * seen
            if out.gate is not None and taught.gate is not None:
                losses["gate"] = loss.lambda_teacher * l1(shut(out.gate, taught.gate), shut(taught.gate))
        self.updates.step_generators(losses)
        with self.numerics.autocast():
            real = taught.y_star if loss.teacher_real else y
            adversary = steps.discriminator(self._shown, real, self.pools["y"].query(out.y_star.detach()))
        self.updates.step_discriminators({"disc_y": adversary})
        return detached(losses | {"disc_y": adversary})

    def _shown(self, image: Tensor) -> Tensor:
        """D_Y's scores of a picture under noise."""
        noise = self.loss.disc_noise
        scores: Tensor = self._disc_y(image if noise == 0 else image + noise * torch.randn_like(image))
        return scores

    def _taught(self, x: Tensor) -> GetGanOutput:
        if self._teacher is None:
            raise TrainingError("a run of method distil has no teacher; name one with --start-from")
        with torch.no_grad():
            seen = self._reduced(x)
            answer: GetGanOutput = both_ways(self._teacher, seen) if self.loss.mirror else self._teacher(seen)
        return answer

    def _reduced(self, image: Tensor) -> Tensor:
        return functional.avg_pool2d(image.float(), self._times) if self._times > 1 else image


def from_afar(face: Tensor, wanted: Tensor, where: Tensor | None) -> Tensor:
    """Mean |difference of the means over windows|, summed over AFAR's; `where` weighs each pixel before.

    Windows overlap by half and lie inside the picture, so a pixel at its rim counts less than another.
    """
    difference = face.float() - wanted.float()
    if where is not None:
        difference = where * difference / where.mean().clamp_min(1e-3)
    sides = [max(2, face.shape[2] // part) for part in AFAR]
    pooled = [functional.avg_pool2d(difference, side, stride=side // 2).abs().mean() for side in sides]
    return torch.stack(pooled).sum()
