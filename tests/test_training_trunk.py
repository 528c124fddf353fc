"""The trunk alone learns to see behind occluders: what moves, what it is told, and who may teach it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_helpers import (
    assert_resumed_alike,
    noise,
    same,
    small,
    started,
    trained,
)

from getgan.errors import ConfigError, TrainingError
from getgan.models.blocks import ResidualBlock
from getgan.models.checkpoint import load_checkpoint
from getgan.models.getgan import GetGanGenerator, Thought
from getgan.training.loop import Trainer
from getgan.training.methods import trunk
from getgan.training.methods.getgan import CLEAN
from getgan.training.methods.hiding import laid_over
from getgan.training.methods.trunk import Trunk

# The gate stands after the second of three blocks in the teacher, and after the first here.
TEACHER = ("model.shared_blocks=2", "model.branch_blocks=1")
PUPIL = (
    "model.method=trunk",
    "model.shared_blocks=1",
    "model.branch_blocks=2",
    "optim.batch=4",
    "loss.transplant=true",
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for 32 pixels."""
    return trained(tmp_path_factory.mktemp("teacher"), *TEACHER)


def method_of(trainer: Trainer) -> tuple[Trunk, GetGanGenerator, GetGanGenerator]:
    """The method, its generator, and its teacher."""
    method = trainer.method
    assert isinstance(method, Trunk) and method._teacher is not None
    return method, method._forward, method._teacher


def chain_of(net: GetGanGenerator, branch: str) -> list[ResidualBlock]:
    """Its residual blocks, before the gate and behind it in a branch."""
    layers = [*net.shared, *net.get_submodule(branch).children()]
    return [layer for layer in layers if isinstance(layer, ResidualBlock)]


def hide(monkeypatch: pytest.MonkeyPatch, *scans: int) -> Tensor:
    """Let the upper left of these scans of four be what hides a face; the mask at half of the height."""
    mask = torch.zeros(4, 1, 16, 16)
    mask[list(scans), :, :8, :8] = 1.0
    monkeypatch.setattr(trunk, "hidden_in", lambda _taught: mask)
    return mask


def test_trunk_between_the_ends_is_the_whole_network(teacher: Path) -> None:
    net, x = load_checkpoint(teacher).generator().eval(), noise(3, 2, 3, 32, 32)
    assert isinstance(net, GetGanGenerator)
    with torch.no_grad():
        whole, parts = net(x), net.draw(net.think(net.encode(x)))
    assert same(whole._asdict(), parts._asdict())


def test_gate_moves_and_the_blocks_keep_their_order(teacher: Path, tmp_path: Path) -> None:
    _, own, old = method_of(started(tmp_path / "earlier", teacher, *PUPIL))
    for branch in ("fake", "error"):
        blocks, wanted = chain_of(own, branch), chain_of(old, branch)
        assert len(blocks) == len(wanted) == 3
        assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(blocks, wanted, strict=True))
    assert own.gate is not None and old.gate is not None
    assert same(own.gate.state_dict(), old.gate.state_dict())
    # And back: what comes before the gate is the face's.
    moved = trained(tmp_path / "moved", "model.shared_blocks=1", "model.branch_blocks=2")
    later = started(tmp_path / "later", moved, *TEACHER).method.nets["forward"]
    source = load_checkpoint(moved).generator()
    assert isinstance(later, GetGanGenerator) and isinstance(source, GetGanGenerator)
    for branch, before in (("fake", "fake"), ("error", "fake")):
        blocks, wanted = chain_of(later, branch), chain_of(source, before)
        assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(blocks[:2], wanted[:2], strict=True))
        assert same(blocks[2].state_dict(), chain_of(source, branch)[2].state_dict())


def test_ends_stay_and_trunk_and_critic_move(teacher: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trainer = started(folder, teacher, *PUPIL, "optim.iterations=2", "optim.lr=0.01")
    method, net, old = method_of(trainer)
    assert set(method.nets) == {"forward", "critic"}
    before = {key: value.clone() for key, value in net.state_dict().items()}
    critic = {key: value.clone() for key, value in method.nets["critic"].state_dict().items()}
    trainer.run()
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    blocks_and_gate = {key for key in before if "conv_block" in key or key.startswith("gate")}
    # A bias before a norm has no effect, and no gradient but of rounding.
    assert {key for key in blocks_and_gate if key.endswith("weight")} <= moved <= blocks_and_gate
    for a, b in zip(net.ends, old.ends, strict=True):
        assert same(dict(enumerate(a.state_dict().values())), dict(enumerate(b.state_dict().values())))
    assert any(
        not torch.equal(value, critic[key]) for key, value in method.nets["critic"].state_dict().items()
    )
    checkpoint = load_checkpoint(folder / "last.safetensors")
    assert f"taught by sha256 {load_checkpoint(teacher).sha256}" in checkpoint.provenance.notes
    assert not list(folder.glob("*.reverse.safetensors"))


def test_it_is_shown_the_occluder_and_told_what_the_teacher_made_without(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = hide(monkeypatch, 1)
    method, net, old = method_of(started(tmp_path, teacher, *PUPIL))
    shown: list[Tensor] = []

    def think(seen: Tensor) -> Thought:
        shown.append(seen)
        return GetGanGenerator.think(net, seen)

    monkeypatch.setattr(net, "think", think)
    x = noise(4, 4, 3, 32, 32)
    losses = method.iterate(x, noise(5, 4, 3, 32, 32))
    over = torch.nn.functional.interpolate(mask.roll(-1, 0), size=(32, 32), mode="bilinear")
    with torch.no_grad():
        seen = old.encode(laid_over(x, over))
        assert torch.equal(shown[0], seen)
        assert not torch.equal(seen[0], old.encode(x)[0]) and torch.equal(seen[1:], old.encode(x)[1:])
        wanted = old.think(old.encode(x)).face
    difference = (started_face(teacher, tmp_path / "again", seen) - wanted) / wanted.std(
        dim=(0, 2, 3), keepdim=True
    )
    # The generator's answer before its step, over the deviation of what was wanted; lambda_teacher is 10.
    assert float(losses["face"]) == pytest.approx(10 * float(difference.abs().mean()), rel=1e-4)


def started_face(teacher: Path, folder: Path, seen: Tensor) -> Tensor:
    """What a run that has not begun makes of such features."""
    _, net, _ = method_of(started(folder, teacher, *PUPIL))
    with torch.no_grad():
        return net.think(seen).face


def test_what_is_drawn_counts_up_to_a_quarter(tmp_path: Path) -> None:
    deeper = "model.widths=[2,3,4,5]"  # a trunk of 4x4 places
    own = trained(tmp_path / "teacher", *TEACHER, deeper)
    method, net, _ = method_of(started(tmp_path / "run", own, *PUPIL, deeper))
    features = noise(6, 2, 5, 4, 4)
    levels = method._drawn(features)
    assert [level.shape for level in levels] == [(2, 5, 4, 4), (2, 4, 8, 8)]
    with torch.no_grad():
        assert torch.equal(levels[0], features)
        assert torch.allclose(levels[1], net.ends[1][:3](features), atol=1e-6)


def test_it_learns_what_lies_behind(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, 1, 3)
    options = ("loss.lambda_gan=0.1", "loss.hidden_gain=3", "optim.lr=0.01", "optim.iterations=60")
    method, _, _ = method_of(started(tmp_path, teacher, *PUPIL, *options))
    x, y = noise(4, 4, 3, 32, 32), noise(5, 4, 3, 32, 32)
    told = [{name: float(value) for name, value in method.iterate(x, y).items()} for _ in range(60)]
    for name, share in (("face", 0.7), ("error", 0.9)):
        assert told[-1][name] < share * told[0][name], name


def test_critic_tells_scans_with_another_s_occluder_from_clean_ones(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees every second scan, under noise, three times: G's, the teacher's, and G's again."""
    hide(monkeypatch, 1, 3)
    seen: list[Tensor] = []
    for deviation in (0.0, 0.5):
        options = (*PUPIL, f"loss.disc_noise={deviation}", "optim.lr=0.01")
        method, _, old = method_of(started(tmp_path / str(deviation), teacher, *options))
        method.nets["critic"].register_forward_pre_hook(lambda _net, given: seen.append(given[0].detach()))
        x = noise(4, 4, 3, 32, 32)
        torch.manual_seed(0)
        scores = method.iterate(x, noise(5, 4, 3, 32, 32))["critic"]
        assert 0.0 < float(scores) < 4.0
    with torch.no_grad():
        wanted = old.think(old.encode(x)).face
    wanted = (wanted / wanted.std(dim=(0, 2, 3), keepdim=True))[::2]
    fake, real, again = seen[:3]
    assert torch.allclose(real, wanted, atol=1e-5) and torch.equal(fake, again)
    assert not torch.allclose(fake, real, atol=1e-2)
    added = [noisy - bare for noisy, bare in zip(seen[3:], seen[:3], strict=True)]
    assert all(float(each.std()) == pytest.approx(0.5, rel=0.15) for each in added)
    assert not torch.allclose(added[0], added[2])


def test_scans_that_get_an_occluder_are_those_without_one(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, 0, 1, 2)
    method, _, _ = method_of(started(tmp_path, teacher, *PUPIL, "loss.clean_x=true"))
    x = noise(4, 4, 3, 32, 32)
    method.iterate(x, noise(5, 4, 3, 32, 32))
    assert [torch.equal(kept, x[3]) for kept in method.pools[CLEAN].images] == [True]


def test_resumed_run_is_the_run_that_was_not_stopped(teacher: Path, tmp_path: Path) -> None:
    options = (*PUPIL, "loss.clean_x=true", "run.checkpoint_every=2", "optim.ema=0.5")
    config = small(tmp_path / "run", *options, "optim.iterations=4")
    assert_resumed_alike(config, tmp_path, teacher)


def test_who_may_teach(teacher: Path, tmp_path: Path) -> None:
    other = trained(tmp_path / "other", *TEACHER, "run.seed=5")
    with pytest.raises(
        TrainingError, match=r"encoder and decoders are not the teacher's.*--start-from the teacher"
    ):
        started(tmp_path / "a", other, *PUPIL, teacher=teacher)
    with pytest.raises(TrainingError, match="pictures have 32 pixels, this run's 64; wanted as many"):
        started(tmp_path / "b", teacher, *PUPIL, "data.size=64")
    cyclegan = trained(tmp_path / "cyclegan", "model.method=cyclegan")
    with pytest.raises(
        TrainingError, match=r"teacher is a ResnetGenerator; wanted a GET-GAN generator with a gate"
    ):
        started(tmp_path / "c", teacher, *PUPIL, teacher=cyclegan)
    with pytest.raises(
        TrainingError, match=r"model\.method is trunk; wanted a trained generator to learn from"
    ):
        started(tmp_path / "d", None, *PUPIL)
    with pytest.raises(TrainingError, match="a trunk of 2 places each way; wanted 64 pixels or more"):
        started(tmp_path / "e", None, *PUPIL, "model.widths=[2,3,4,5,6]")


def test_wants_what_it_learns_from(tmp_path: Path) -> None:
    config = small(tmp_path, *PUPIL)
    with pytest.raises(ConfigError, match=r"loss\.transplant is False; wanted true: method trunk"):
        replace(config, loss=replace(config.loss, transplant=False))
    with pytest.raises(ConfigError, match=r"optim\.batch is 1; wanted 2 or more for loss\.transplant"):
        replace(config, optim=replace(config.optim, batch=1))
    with pytest.raises(ConfigError, match=r"loss\.transplant is True; wanted false without a gate"):
        replace(config, model=replace(config.model, gate="none"))
