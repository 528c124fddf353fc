"""The trunk alone learns to see behind occluders, at the size of its features."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from getgan.errors import TrainingError
from getgan.models.critic import FeatureCritic
from getgan.models.getgan import GetGanGenerator, Thought
from getgan.training.config import TrainConfig
from getgan.training.methods.getgan import CLEAN, getgan_config
from getgan.training.methods.hiding import (
    CLEAN_BELOW,
    drawn_between,
    grown,
    hidden_by_both,
    hidden_by_gate,
    laid_over,
    shut,
    softened,
    with_clean_scans,
)
from getgan.training.methods.parts import detached, pools, prepare
from getgan.training.steps import Losses, apart, l1
from getgan.training.updates import Numerics, Updates

HALF = 2  # masks are found and grown at half of the height: what is finer is no occluder
QUARTER = 4  # of the height, up to which is compared what the decoder makes of the features


class Trunk:
    """What a trained network's trunk makes of a scan, it shall make of the scan under another one's occluder.

    That is said of the face; y_e shall be the one that the teacher has for the occluded scan, and the gate
    shall shut where the other's occluder was found. Encoder and decoders stay as the teacher has them, so
    none is run at full size for a gradient, no face is drawn, and no photo is looked at: an iteration costs a
    small part of one that compares pictures. What the trunk cannot know it would answer with the mean of
    all that may be there, of which the decoder draws a blur. So a critic compares features of the scans that
    got an occluder with the teacher's of the same scans without, which with `clean_x` hide nothing.
    """

    name = "trunk"  # in a config

    def __init__(self, config: TrainConfig, numerics: Numerics) -> None:
        self.loss, self.numerics = config.loss, numerics
        self._size = config.data.size
        self._forward = GetGanGenerator(getgan_config(config.model))
        self._critic = FeatureCritic(self._forward.config.levels[-1]).to(numerics.device)
        prepare({"forward": self._forward}, config, numerics)
        self.updates = Updates([self._forward], [self._critic], config.optim, numerics)
        self.pools = pools(config, *([CLEAN] if config.loss.clean_x else []))
        self._teacher: GetGanGenerator | None = None

    @property
    def nets(self) -> dict[str, nn.Module]:
        """G and the critic of its features."""
        return {"forward": self._forward, "critic": self._critic}

    def learn_from(self, teacher: nn.Module, size: int) -> None:
        """Take the trained generator whose ends this one has; TrainingError if it cannot teach."""
        if not isinstance(teacher, GetGanGenerator):
            raise TrainingError(f"the teacher is a {type(teacher).__name__}; wanted a GET-GAN generator")
        if teacher.gate is None:
            raise TrainingError("the teacher has no gate; wanted one, for what hides a face is told by it")
        if size != self._size:
            raise TrainingError(
                f"the teacher's pictures have {size} pixels, this run's {self._size}; wanted as many: change "
                "data.size, or use model.method=distil for larger ones"
            )
        if not _same_ends(teacher, self._forward):
            raise TrainingError(
                "encoder and decoders are not the teacher's, and no others are learned; wanted --start-from "
                "the teacher, and its model.widths, model.up, model.norm and model.stride"
            )
        self._teacher = teacher.to(self.numerics.device).eval().requires_grad_(False)

    def iterate(self, x: Tensor, y: Tensor) -> Losses:
        """One generator step, one critic step; y is not looked at."""
        loss = self.loss
        teacher = self._teacher
        if teacher is None:
            raise TrainingError("a run of method trunk has no teacher; name one with --start-from")
        over = slice(0, len(x) // 2 * 2, 2)  # these get an odd one's occluder
        with self.numerics.autocast(), torch.no_grad():
            features = teacher.encode(x)
            taught = teacher.think(features)
            found = _hidden(teacher, taught)
            if loss.clean_x:
                x = with_clean_scans(x, found, self.pools[CLEAN])
                features, taught, found = self._renewed(teacher, x, features, taught, found)
            hides = self._hides(found, taught.gate)
            donors = _donors(found)
            laid, laid_found = (_on(over, mask[donors], len(x)) for mask in (hides, found))
            full = functional.interpolate(laid[over], size=x.shape[2:], mode="bilinear")
            seen = features.clone()
            seen[over] = teacher.encode(laid_over(x[over], full, x[donors])).to(seen.dtype)
            wanted_error = taught.error.clone()
            wanted_error[over] = teacher.think(seen[over]).error.to(wanted_error.dtype)
            # As in a distillation: what the rim adds shuts no gate.
            gate = torch.minimum(1.0 - shut(taught.gate), 1.0 - _places(laid_found, seen))
            counts = 1.0 + (loss.hidden_gain - 1.0) * _places(laid, seen)
            if loss.teacher_sees:
                counts = (1.0 - _places(hides, seen)) * counts
            real = [_scaled(level) for level in self._drawn(teacher, taught.face)]
            wanted_error, error_scale = _scaled(wanted_error)
        with self.numerics.autocast():
            thought = self._forward.think(seen.float())
            drawn = self._drawn(teacher, thought.face)
            face = [
                apart(fake / scale, wanted, functional.interpolate(counts, size=fake.shape[2:]))
                for fake, (wanted, scale) in zip(drawn, real, strict=True)
            ]
            fake = drawn[0].float() / real[0][1]
            losses = {
                "gan": -loss.lambda_gan * _mean(self._scores(fake[over])),
                "face": loss.lambda_teacher * torch.stack(face).sum(),
                "error": 0.1 * loss.lambda_error * l1(thought.error / error_scale, wanted_error),
                "gate": loss.lambda_teacher * l1(1.0 - shut(thought.gate), gate),
            }
        self.updates.step_generators(losses)
        with self.numerics.autocast():
            # Hinge losses (Lim and Ye 2017): a critic that is right by a margin has nothing more to learn.
            told_real = _mean([functional.relu(1.0 - s.float()) for s in self._scores(real[0][0][over])])
            told_fake = _mean([functional.relu(1.0 + s.float()) for s in self._scores(fake[over].detach())])
        self.updates.step_discriminators({"critic": told_real + told_fake})
        return detached(losses | {"critic": told_real + told_fake}, hides=hides.mean())

    def _drawn(self, teacher: GetGanGenerator, features: Tensor) -> list[Tensor]:
        """Features, and what the face's decoder makes of them at each doubling up to a quarter of the height.

        Where an eye is stands in few of the features, and in many of the places that are drawn of them.
        """
        found = [features]
        for layer in teacher.ends[1]:  # frozen, and BatchNorm as it was trained
            features = layer(features)
            if QUARTER * features.shape[2] > self._size:
                break
            if isinstance(layer, nn.ReLU):
                found.append(features)
        return found

    def _hides(self, found: Tensor, gate: Tensor) -> Tensor:
        """What is laid over another scan, (N, 1, H/2, W/2) in [0, 1]."""
        rim = drawn_between(self.loss.hidden_rim)
        if self.loss.hidden_gate == (0.0, 0.0):
            return grown(found, rim)
        told = hidden_by_gate(gate, drawn_between(self.loss.hidden_gate), found.shape[2])
        wider = grown(told, rim)
        return softened(told) if wider is told else wider  # a soft edge also without a rim

    def _renewed(
        self, teacher: GetGanGenerator, x: Tensor, features: Tensor, taught: Thought, found: Tensor
    ) -> tuple[Tensor, Thought, Tensor]:
        """What the teacher makes of scans of which every second one is another now."""
        every = slice(0, None, 2)
        seen = teacher.encode(x[every])
        own = teacher.think(seen)
        hidden = _hidden(teacher, own)
        for whole, part in zip((features, *taught, found), (seen, *own, hidden), strict=True):
            whole[every] = part
        return features, taught, found

    def _scores(self, features: Tensor) -> list[Tensor]:
        """The critic's, of features under noise."""
        noise = self.loss.disc_noise
        scores: list[Tensor] = self._critic(
            features if noise == 0 else features + noise * torch.randn_like(features)
        )
        return scores


def _hidden(teacher: GetGanGenerator, taught: Thought) -> Tensor:
    """What hides the faces, (N, 1, H/2, W/2) in [0, 1]."""
    error = teacher.draw_error(taught).float().abs().mean(dim=1, keepdim=True)
    return hidden_by_both(functional.avg_pool2d(error, HALF), taught.gate)


def _donors(found: Tensor) -> Tensor:
    """Of an even scan the odd one whose occluder it gets: one that has any, or whichever there is."""
    odd = torch.arange(1, len(found), 2, device=found.device)
    hidden = odd[found[odd].mean(dim=(1, 2, 3)) >= CLEAN_BELOW]
    some = hidden if len(hidden) else odd
    return some[torch.arange(len(odd), device=found.device) % len(some)]


def _on(these: slice, masks: Tensor, count: int) -> Tensor:
    """Masks of `count` scans: of these, and 0 for all others."""
    whole = masks.new_zeros((count, *masks.shape[1:]))
    whole[these] = masks
    return whole


def _places(mask: Tensor, like: Tensor) -> Tensor:
    """A mask at the trunk's size."""
    return functional.adaptive_avg_pool2d(mask, (like.shape[2], like.shape[3]))


def _scaled(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features over their deviation in each channel of this batch, and that, (1, C, 1, 1)."""
    features = features.float()
    scale = features.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3)
    return features / scale, scale


def _mean(scores: list[Tensor]) -> Tensor:
    """Of all scales alike."""
    return torch.stack([each.float().mean() for each in scores]).mean()


def _same_ends(one: GetGanGenerator, other: GetGanGenerator) -> bool:
    """Whether encoder and decoders are the same layers with the same weights."""
    return all(
        [str(layer) for layer in a] == [str(layer) for layer in b]
        and all(
            torch.equal(p.cpu(), q.cpu())
            for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
        )
        for a, b in zip(one.ends, other.ends, strict=True)
    )
