"""The five steps: who moves, what W_e is, and every loss term worked out by hand."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from training_helpers import noise, recorded_gradients, tiny

from getgan.models.getgan import GetGanConfig, GetGanGenerator, GetGanOutput
from getgan.training import steps
from getgan.training.config import LossConfig, OptimConfig
from getgan.training.methods import build_method
from getgan.training.methods.getgan import GetGan
from getgan.training.pool import ImagePool, KeptImages
from getgan.training.steps import GetGanNets, Losses, blend
from getgan.training.updates import Numerics, Updates
from getgan.training.weight import blur

CPU = Numerics(torch.device("cpu"))
Array = NDArray[np.float64]


def small_getgan(*overrides: str) -> GetGan:
    method = build_method(tiny(*overrides), CPU)
    assert isinstance(method, GetGan)
    return method


# Who moves.


def groups(method: GetGan) -> dict[str, list[nn.Parameter]]:
    nets = method.nets
    forward = nets["forward"]
    assert isinstance(forward, GetGanGenerator)
    assert forward.gate is not None
    parts = {"S": forward.shared, "T": forward.gate, "F": forward.fake, "E": forward.error}
    parts |= {"H": nets["reverse"], "Dy": nets["disc_y"], "Dx": nets["disc_x"]}
    return {name: list(module.parameters()) for name, module in parts.items()}


def moves(method: GetGan, iterate: Callable[[], object]) -> list[tuple[str, str]]:
    """(kind of update, the groups that it changed) of each update in `iterate`."""
    found: list[tuple[str, str]] = []
    parts = groups(method)
    now = {name: [p.detach().clone() for p in own] for name, own in parts.items()}

    def changed() -> str:
        names = [
            name
            for name, own in parts.items()
            if not all(torch.equal(a, b) for a, b in zip(now[name], own, strict=True))
        ]
        for name, own in parts.items():
            now[name] = [p.detach().clone() for p in own]
        return "".join(names)

    def watched(kind: str, step: Callable[[Losses], None]) -> Callable[[Losses], None]:
        def call(losses: Losses) -> None:
            assert changed() == "", "something moved outside an update"
            if kind == "D":  # the discriminators' losses see detached fakes
                others = [p for name in "STFEH" for p in parts[name]]
                total = torch.stack(list(losses.values())).sum()
                reached = torch.autograd.grad(total, others, retain_graph=True, allow_unused=True)
                assert all(gradient is None for gradient in reached)
            step(losses)
            found.append((kind, changed()))

        return call

    updates = method.updates
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "step_generators", watched("G", updates.step_generators))
        patch.setattr(updates, "step_discriminators", watched("D", updates.step_discriminators))
        iterate()
    assert changed() == ""
    return found


SEQUENTIAL = [("G", "STF"), ("G", "STFEH"), ("G", "STFEH"), ("D", "DyDx"), ("G", "STFEH")]


@pytest.mark.parametrize(
    ("updates", "wanted"), [("sequential", SEQUENTIAL), ("joint", [("G", "STFEH"), ("D", "DyDx")])]
)
def test_each_update_moves_exactly_its_networks(updates: str, wanted: list[tuple[str, str]]) -> None:
    method = small_getgan(f"optim.updates={updates}")
    # Twice: a momentum that is left behind would move a network only from the second iteration on.
    for n in range(2):
        assert moves(method, lambda n=n: method.iterate(noise(n), noise(10 + n))) == wanted  # type: ignore[misc]


def test_step_2_moves_nothing_and_leaves_no_gradient() -> None:
    method = small_getgan()
    nets, x = method._nets, noise(0)
    parameters = [p for net in method.nets.values() for p in net.parameters()]
    before = [p.detach().clone() for p in parameters]
    out = nets.forward(x)
    w_e = steps.step2_gradient_weight(nets, x, out.y_star, method.loss)
    assert not w_e.requires_grad
    assert all(p.grad is None for p in parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True))
    # The graph of y_* is still whole: step 3 differentiates it.
    sum(steps.step3_weighted_cycle(nets, x, out, w_e, method.loss).values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in nets.forward.parameters())


def test_step_2_keeps_the_gradients_of_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    method = small_getgan()
    parameters = [p for net in method.nets.values() for p in net.parameters()]
    real, calls = steps.step2_gradient_weight, []

    def watched(nets: GetGanNets, x: Tensor, y_star: Tensor, loss: LossConfig) -> Tensor:
        before = [None if p.grad is None else p.grad.clone() for p in parameters]
        w_e = real(nets, x, y_star, loss)
        for old, p in zip(before, parameters, strict=True):
            assert (old is None) == (p.grad is None)
            assert old is None or torch.equal(old, p.grad)  # type: ignore[arg-type]
        calls.append(w_e)
        return w_e

    monkeypatch.setattr(steps, "step2_gradient_weight", watched)
    method.iterate(noise(0), noise(1))
    assert len(calls) == 1


def test_joint_gradient_is_the_sum_of_the_four_sequential_ones() -> None:
    x, y = noise(0, 2, 3, 32, 32), noise(1, 2, 3, 32, 32)
    options = ("loss.lambda_keep=0.7", "optim.pool=0")
    parts, discriminator = recorded_gradients(small_getgan(*options), x, y)
    joint, discriminator_joint = recorded_gradients(small_getgan(*options, "optim.updates=joint"), x, y)
    assert (len(parts), len(discriminator), len(joint), len(discriminator_joint)) == (4, 1, 1, 1)
    wanted = torch.stack(parts).sum(0)
    assert float(wanted.abs().max()) > 0
    # float32 sums in another order
    torch.testing.assert_close(joint[0], wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))
    torch.testing.assert_close(discriminator_joint[0], discriminator[0])


def test_learning_rate_is_constant_and_then_falls_linearly_for_both_optimizers() -> None:
    nets: tuple[list[nn.Module], list[nn.Module]] = ([nn.Linear(1, 1)], [nn.Linear(1, 1)])
    updates = Updates(*nets, OptimConfig(iterations=10, lr=0.1, decay_from=0.5), CPU)
    rates = [updates.set_rate(n) for n in range(10)]
    assert rates == pytest.approx([0.1] * 6 + [0.08, 0.06, 0.04, 0.02])
    assert updates.adam_g.param_groups[0]["lr"] == updates.adam_d.param_groups[0]["lr"] == rates[-1]
    assert updates.adam_g.param_groups[0]["betas"] == (0.5, 0.999)
    constant = Updates(*nets, OptimConfig(iterations=10, lr=0.1, decay_from=1.0), CPU)
    assert [constant.set_rate(n) for n in (0, 9)] == [0.1, 0.1]


# Blend and losses by hand.


def test_blend_by_hand() -> None:
    w_e = torch.tensor([0.0, 1.0, 0.25, 0.5], dtype=torch.float64)
    y_star = torch.tensor([0.8, 0.8, 0.4, -0.6], dtype=torch.float64)
    y_error = torch.tensor([-0.2, -0.2, 0.8, 0.2], dtype=torch.float64)
    wanted = torch.tensor([0.8, -0.2, 0.5, -0.2], dtype=torch.float64)
    torch.testing.assert_close(blend(y_star, y_error, w_e), wanted, rtol=0, atol=1e-15)


class KnownForward(GetGanGenerator):
    """y_* = 0.5 x - 0.2, y_e = 0.25 x + 0.3."""

    def __init__(self) -> None:
        super().__init__(GetGanConfig(ngf=1, shared_blocks=1, branch_blocks=1))

    def forward(self, x: Tensor) -> GetGanOutput:
        return GetGanOutput(0.5 * x - 0.2, 0.25 * x + 0.3, None)


class Affine(nn.Module):
    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.shift


def known_nets() -> GetGanNets:
    return GetGanNets(KnownForward(), Affine(0.8, 0.1), Affine(0.3, 0.4), Affine(-0.6, 0.2))


WEIGHTS = LossConfig(lambda_gan=2.0, lambda_rec=3.0, lambda_idt=5.0, lambda_error=7.0, lambda_keep=11.0)


def mean(values: Array) -> float:
    return float(np.mean(values))


def assert_losses(found: Losses, wanted: dict[str, float]) -> None:
    assert {name: float(value) for name, value in found.items()} == pytest.approx(wanted, rel=1e-5)


def test_losses_of_every_step_by_hand() -> None:
    nets, x, y = known_nets(), noise(0), noise(1)
    x64, y64 = x.double().numpy(), y.double().numpy()
    y_star, y_error = 0.5 * x64 - 0.2, 0.25 * x64 + 0.3
    out = nets.forward(x)
    assert_losses(
        steps.step1_face(nets, out.y_star, WEIGHTS), {"gan_y": 2 * mean((0.3 * y_star + 0.4 - 1) ** 2)}
    )

    w_e = noise(2) * 0.5 + 0.5
    w64 = w_e.double().numpy()
    y_blend = (1 - w64) * y_star + w64 * y_error
    third = {
        "rec_x": 3 * mean(np.abs(x64 - (0.8 * y_blend + 0.1))),
        "keep_x": 11 * mean((1 - w64) * np.abs(x64 - (0.8 * y_star + 0.1))),
    }
    assert_losses(steps.step3_weighted_cycle(nets, x, out, w_e, WEIGHTS), third)
    unkept = dataclasses.replace(WEIGHTS, lambda_keep=0.0)
    assert_losses(steps.step3_weighted_cycle(nets, x, out, w_e, unkept), {"rec_x": third["rec_x"]})

    x_back = 0.8 * y64 + 0.1
    fourth = {
        "gan_x": 2 * mean((-0.6 * x_back + 0.2 - 1) ** 2),
        "rec_y": 3 * mean(np.abs(y64 - (0.5 * x_back - 0.2))),
        "error_rec": 7 * mean(np.abs(0.25 * x_back + 0.3)),
    }
    losses, x_fake = steps.step4_reverse(nets, x, y, w_e, WEIGHTS)
    assert_losses(losses, fourth)
    np.testing.assert_allclose(x_fake.numpy(), x_back, atol=1e-6)
    assert not x_fake.requires_grad

    fifth = {
        "idt_y": 5 * mean(np.abs(y64 - (0.5 * y64 - 0.2))),
        "error_idt": 7 * mean(np.abs(0.25 * y64 + 0.3)),
        "idt_x": 5 * mean(np.abs(x64 - (0.8 * x64 + 0.1))),
    }
    assert_losses(steps.step5_identity(nets, x, y, WEIGHTS), fifth)


def test_gradient_of_step_3_takes_the_weight_as_a_number() -> None:
    """Against the gradient worked out by hand with W_e constant, for H(a) = 0.8 a + 0.1."""
    nets, x = known_nets(), noise(0)
    loss = LossConfig(lambda_rec=3.0, weight_error="l2")
    y_star, y_error = noise(1).requires_grad_(True), noise(2).requires_grad_(True)
    w_e = steps.step2_gradient_weight(nets, x, y_star, loss)
    out = GetGanOutput(y_star, y_error, None)
    total = steps.step3_weighted_cycle(nets, x, out, w_e, loss)["rec_x"]
    by_star, by_error = torch.autograd.grad(total, (y_star, y_error))
    x64, w64 = x.double().numpy(), w_e.double().numpy()
    y = (1 - w64) * y_star.detach().double().numpy() + w64 * y_error.detach().double().numpy()
    by_y = -3.0 * 0.8 * np.sign(x64 - (0.8 * y + 0.1)) / x64.size
    np.testing.assert_allclose(by_star.numpy(), (1 - w64) * by_y, atol=1e-9)
    np.testing.assert_allclose(by_error.numpy(), w64 * by_y, atol=1e-9)


def test_transplant_lays_what_hides_x_over_the_reverse_picture() -> None:
    """Against numbers worked out by hand for affine networks; y_e may show what was laid there."""
    nets, x, y = known_nets(), noise(0), noise(1)
    w_e = torch.zeros(1, 3, 32, 32)
    w_e[..., :8, :], w_e[..., 8:16, :] = 0.9, 0.65  # hidden, and half of it
    loss = dataclasses.replace(WEIGHTS, transplant=True)
    x64, y64 = x.double().numpy(), y.double().numpy()
    hidden = np.zeros((1, 1, 32, 32))
    hidden[..., :8, :], hidden[..., 8:16, :] = 1.0, 0.5
    seen = (1 - hidden) * (0.8 * y64 + 0.1) + hidden * x64
    losses, x_fake = steps.step4_reverse(nets, x, y, w_e, loss)
    wanted = {
        "gan_x": 2 * mean((-0.6 * (0.8 * y64 + 0.1) + 0.2 - 1) ** 2),
        "rec_y": 3 * mean(np.abs(y64 - (0.5 * seen - 0.2))),
        "error_rec": 7 * mean((1 - hidden) * np.abs(0.25 * seen + 0.3)),
    }
    assert_losses(losses, wanted)
    np.testing.assert_allclose(x_fake.numpy(), 0.8 * y64 + 0.1, atol=1e-6)  # D_X sees H's picture alone


def test_gate_is_told_what_is_hidden() -> None:
    nets, x = known_nets(), noise(0)
    gate = torch.rand(1, 5, 4, 4, generator=torch.Generator().manual_seed(2))
    w_e = torch.zeros(1, 3, 32, 32)
    w_e[..., :8, :] = 0.9
    wanted = np.zeros((4, 4))
    wanted[0] = 1.0
    error = mean((1 - gate.double().numpy().mean(axis=1) - wanted) ** 2)
    assert float(steps.gate_error(gate, (w_e[:, :1] > 0.5).float())) == pytest.approx(error, abs=1e-6)
    loss = dataclasses.replace(WEIGHTS, lambda_gate=4.0, transplant=True)
    third = steps.step3_weighted_cycle(nets, x, GetGanOutput(noise(3), noise(4), gate), w_e, loss)
    assert float(third["gate"]) == pytest.approx(4 * error, abs=1e-5)
    assert "gate" not in steps.step3_weighted_cycle(
        nets, x, GetGanOutput(noise(3), noise(4), None), w_e, loss
    )
    assert "gate" not in steps.step3_weighted_cycle(
        nets, x, GetGanOutput(noise(3), noise(4), gate), w_e, dataclasses.replace(loss, lambda_gate=0.0)
    )


OWN = ("loss.weight_of=residual", "loss.transplant=true", "loss.lambda_gate=2", "loss.cycle_noise=0.1")


@pytest.mark.parametrize("updates", ["sequential", "joint"])
def test_every_option_together_still_moves_each_network_in_its_turn(updates: str) -> None:
    method = small_getgan(f"optim.updates={updates}", *OWN)
    wanted = SEQUENTIAL if updates == "sequential" else [("G", "STFEH"), ("D", "DyDx")]
    assert moves(method, lambda: method.iterate(noise(0), noise(1))) == wanted
    losses = method.iterate(noise(0), noise(1))
    assert {"gate", "gate_rec"} <= losses.keys()
    assert float(losses["gate"]) > 0.0


def test_cycle_of_a_scan_is_compared_without_its_grain() -> None:
    nets, x = known_nets(), noise(0)
    out, w_e = GetGanOutput(noise(2), noise(3), None), torch.zeros(1, 3, 32, 32)
    loss = dataclasses.replace(WEIGHTS, cycle_blur=0.05)
    sharp = steps.step3_weighted_cycle(nets, x, out, w_e, WEIGHTS)
    soft = steps.step3_weighted_cycle(nets, x, out, w_e, loss)
    error = blur(x - (0.8 * out.y_star + 0.1), 0.05 * 32).abs().mean()
    assert float(soft["rec_x"]) == pytest.approx(3 * float(error), rel=1e-5)
    assert float(soft["keep_x"]) == pytest.approx(11 * float(error), rel=1e-5)
    assert float(soft["rec_x"]) < 0.5 * float(sharp["rec_x"])


def test_cycle_noise_is_on_what_the_second_generator_sees_and_nowhere_else() -> None:
    nets, x, y = known_nets(), noise(0), noise(1)
    out, w_e = GetGanOutput(noise(2), noise(3), None), torch.zeros(1, 3, 32, 32)
    loss = dataclasses.replace(WEIGHTS, cycle_noise=0.3)

    def both(loss: LossConfig) -> Losses:
        third = steps.step3_weighted_cycle(nets, x, out, w_e, loss)
        return third | steps.step4_reverse(nets, x, y, w_e, loss)[0]

    quiet = both(WEIGHTS)
    torch.manual_seed(0)
    first, second = both(loss), both(loss)
    torch.manual_seed(0)
    again = both(loss)
    for name in ("rec_x", "keep_x", "rec_y", "error_rec"):
        assert float(first[name]) != float(quiet[name])
        assert float(first[name]) != float(second[name])
        assert float(first[name]) == float(again[name])
    assert float(first["gan_x"]) == float(quiet["gan_x"])


class Fixed(ImagePool):
    """Answers with one picture, whatever it is asked."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__(1, (0,))
        self.picture = picture

    def query(self, images: Tensor) -> Tensor:
        assert not images.requires_grad
        return self.picture


def test_discriminators_see_the_real_and_the_fakes() -> None:
    nets = known_nets()
    x, y, x_old, y_old = (noise(n) for n in range(4))
    losses = steps.discriminators(nets.disc_y, nets.disc_x, {"y": y, "x": x}, {"y": y_old, "x": x_old})

    def by_hand(scale: float, shift: float, real: Tensor, old: Tensor) -> float:
        truth, fake = real.double().numpy(), old.double().numpy()
        return 0.5 * (mean((scale * truth + shift - 1) ** 2) + mean((scale * fake + shift) ** 2))

    assert_losses(losses, {"disc_y": by_hand(0.3, 0.4, y, y_old), "disc_x": by_hand(-0.6, 0.2, x, x_old)})


@pytest.mark.parametrize("options", [["model.method=cyclegan"], ["optim.updates=joint"], []])
def test_discriminators_get_what_the_pools_answer(options: list[str]) -> None:
    method = build_method(tiny(*options), CPU)
    x, y, x_old, y_old = (noise(n) for n in range(4))
    method.pools |= {"y": Fixed(y_old), "x": Fixed(x_old)}
    before = {name: copy.deepcopy(method.nets[name]) for name in ("disc_y", "disc_x")}
    losses = method.iterate(x, y)
    for domain, real, old in (("y", y, y_old), ("x", x, x_old)):
        disc = before[f"disc_{domain}"]
        expected = 0.5 * (steps.gan(disc(real), 1.0) + steps.gan(disc(old), 0.0))
        torch.testing.assert_close(losses[f"disc_{domain}"], expected.detach())


def test_pool_answers_with_an_old_picture_half_of_the_time() -> None:
    pool = ImagePool(3, (7,))
    numbers = []
    for n in range(400):
        pool.start_iteration(n)
        numbers.append(int(pool.query(torch.full((1, 3, 1, 1), float(n))).mean()))
    assert numbers[:3] == [0, 1, 2]  # filling
    old = [n - answer for n, answer in enumerate(numbers) if answer != n]
    assert 0.4 < len(old) / 397 < 0.6
    assert max(old) < 60  # an answered picture gives its place to the new one
    assert len(pool.images) == 3
    assert len(set(numbers[3:])) == 397  # no picture twice, but for the first three


def test_pool_s_answer_is_a_function_of_seed_and_iteration() -> None:
    def answers(seed: int) -> list[float]:
        pool = ImagePool(2, (seed,))
        pool.images = [torch.zeros(3, 1, 1), torch.ones(3, 1, 1)]
        found = []
        for n in range(30):
            pool.start_iteration(n)
            found.append(float(pool.query(torch.full((1, 3, 1, 1), 2.0 + n)).mean()))
        return found

    assert answers(1) == answers(1) != answers(2)
    assert float(ImagePool(0, (0,)).query(torch.ones(2, 3, 1, 1)).sum()) == 6.0


def test_kept_images_are_drawn_from_and_replaced() -> None:
    kept = KeptImages(3, (1,))
    kept.start_iteration(0)
    kept.keep(torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 2, 2))
    assert {float(image.mean()) for image in kept.draw(40)} == {0.0, 1.0, 2.0}
    kept.keep(torch.full((1, 3, 2, 2), 7.0))
    values = {float(image.mean()) for image in kept.draw(40)}
    assert len(kept.images) == 3
    assert 7.0 in values
    assert len(values) == 3
    kept.keep(torch.zeros(0, 3, 2, 2))  # none of a batch is clean
    assert len(kept.images) == 3


def test_d_x_learns_from_scans_in_which_nothing_is_hidden() -> None:
    method = small_getgan("loss.clean_x=true", "loss.weight_of=residual")
    scans = noise(0, 2, 3, 32, 32)
    hidden = torch.zeros(2, 3, 32, 32)
    hidden[0, :, :16] = 0.9
    for pool in method.pools.values():
        pool.start_iteration(0)
    everything = torch.full_like(hidden, 0.9)
    assert torch.equal(method._shown(scans, everything), scans)  # nothing better is known yet
    for _ in range(2):
        shown = method._shown(scans, hidden)
        assert torch.equal(shown, scans[1:].expand(2, -1, -1, -1))
    assert torch.equal(method._shown(scans[:1], everything[:1]), scans[1:])
    assert small_getgan()._shown(scans, everything) is scans


def test_iteration_uses_the_pools() -> None:
    method = small_getgan("optim.pool=2")
    for n in range(2):
        method.iterate(noise(n), noise(5 + n))
    assert [len(pool.images) for pool in method.pools.values()] == [2, 2]


# y_e has nothing to say about a photo.


@pytest.mark.parametrize("step", [4, 5])
@pytest.mark.parametrize("weight", [10.0, 0.0])
def test_error_branch_is_driven_to_nothing_on_photos(step: int, weight: float) -> None:
    method = small_getgan(f"loss.lambda_error={weight}", "optim.lr=0.003", "model.ngf=4")
    nets, x, y = method._nets, noise(0), noise(1)

    def size() -> float:
        with torch.no_grad():
            shown = nets.reverse(y) if step == 4 else y
            return float(nets.forward(shown).y_error.abs().mean())

    before = size()
    for _ in range(40):
        if step == 4:
            method.updates.step_generators(
                steps.step4_reverse(nets, y, y, torch.zeros_like(y), method.loss)[0]
            )
        else:
            method.updates.step_generators(steps.step5_identity(nets, x, y, method.loss))
    if weight:
        assert size() < 0.15 * before
    else:
        assert size() > 0.5 * before


def test_losses_are_float32_and_finite_in_mixed_precision() -> None:
    method = build_method(tiny(), Numerics(torch.device("cpu"), "bf16"))
    losses = method.iterate(noise(0), noise(1))
    assert all(value.dtype == torch.float32 and bool(value.isfinite()) for value in losses.values())
    assert not any(value.requires_grad for value in losses.values())
    assert {"gan_y", "rec_x", "gan_x", "rec_y", "error_rec", "idt_y", "error_idt", "idt_x"} < losses.keys()
