"""The trunk alone learns to see behind occluders: what moves, what it is told, and who may teach it."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor
from training_helpers import (
    assert_resumed_alike,
    noise,
    same,
    small,
    started,
    trained,
)

from getgan.benchmarks.training import compare_iterations
from getgan.errors import ConfigError, TrainingError
from getgan.models.blocks import ResidualBlock
from getgan.models.checkpoint import load_checkpoint
from getgan.models.getgan import GetGanGenerator, Thought
from getgan.training.loop import Trainer
from getgan.training.methods import trunk
from getgan.training.methods.getgan import CLEAN
from getgan.training.methods.hiding import grown, hidden_by_both, hidden_by_gate, softened
from getgan.training.methods.trunk import Trunk

WIDTHS = "model.widths=[2,3,4,5]"  # a trunk of 4x4 places, and a decoder of which 8x8 counts too
RECIPE = Path(__file__).resolve().parents[1] / "examples" / "getgan-256-trunk.toml"
# The gate stands after the second of three blocks in the teacher, and after the first here.
TEACHER = (WIDTHS, "model.shared_blocks=2", "model.branch_blocks=1")
PUPIL = (
    "model.method=trunk",
    WIDTHS,
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


CORNERS = {1: (slice(8), slice(8)), 3: (slice(10, None), slice(4, None))}  # of 16x16 places


def hide(monkeypatch: pytest.MonkeyPatch, scans: dict[int, tuple[slice, slice]] = CORNERS) -> Tensor:
    """Let these parts of four scans be what hides a face; (4, 1, 16, 16), half of the height."""
    mask = torch.zeros(4, 1, 16, 16)
    for scan, (rows, columns) in scans.items():
        mask[scan, :, rows, columns] = 1.0
    # Of half a batch, the scans that were kept: nothing hides these.
    monkeypatch.setattr(
        trunk, "hidden_by_both", lambda _error, gate: mask if len(gate) == 4 else torch.zeros(2, 1, 16, 16)
    )
    return mask


def expected(
    old: GetGanGenerator, net: GetGanGenerator, x: Tensor, mask: Tensor, hides: Tensor
) -> tuple[dict[str, float], Tensor, Tensor]:
    """Losses of weight 1 with hidden_gain 3 and teacher_sees; the pupil's and the wanted features, scaled.

    `mask` is what was found in the scans, `hides` what of it is laid over others.
    """
    laid, found = torch.zeros_like(mask), torch.zeros_like(mask)
    laid[[0, 2]], found[[0, 2]] = hides[[1, 3]], mask[[1, 3]]
    full = functional.interpolate(laid, size=x.shape[2:], mode="bilinear")
    mixed = (1 - full) * x + full * x[[1, 1, 3, 3]]
    with torch.no_grad():
        wanted, told, given = (
            old.think(old.encode(x)),
            old.think(old.encode(mixed)),
            net.think(old.encode(mixed)),
        )
    small = functional.adaptive_avg_pool2d
    counts = (1 - small(hides, 4)) * (1 + 2 * small(laid, 4))
    doubling = old.ends[1][:3]
    face = 0.0
    with torch.no_grad():
        for fake, real in ((given.face, wanted.face), (doubling(given.face), doubling(wanted.face))):
            weights = functional.interpolate(counts, size=fake.shape[2:])
            apart = ((fake - real).abs() / deviation(real)).mean(dim=1, keepdim=True)
            face += float((weights * apart).sum() / weights.sum())
    shut = 1 - torch.minimum(wanted.gate.mean(dim=1, keepdim=True), 1 - small(found, 4))
    losses = {
        "face": face,
        "error": 0.1 * float(((given.error - told.error).abs() / deviation(told.error)).mean()),
        "gate": float((1 - given.gate.mean(dim=1, keepdim=True) - shut).abs().mean()),
    }
    scale = deviation(wanted.face)
    return losses, given.face / scale, wanted.face / scale


def assert_told(method: Trunk, x: Tensor, wanted: dict[str, float]) -> None:
    """An iteration has these losses."""
    losses = method.iterate(x, x[:0])
    assert {name: float(losses[name]) for name in wanted} == pytest.approx(wanted, rel=1e-4)


def deviation(features: Tensor) -> Tensor:
    """Of each channel."""
    return features.std(dim=(0, 2, 3), keepdim=True)


ALL = (
    *PUPIL,
    "loss.lambda_teacher=1",
    "loss.lambda_error=1",
    "loss.hidden_gain=3",
    "loss.teacher_sees=true",
    "loss.hidden_rim=[0.07,0.07]",
)


def test_trunk_between_the_ends_is_the_whole_network(teacher: Path) -> None:
    net, x = load_checkpoint(teacher).generator().eval(), noise(3, 2, 3, 32, 32)
    assert isinstance(net, GetGanGenerator)
    with torch.no_grad():
        whole, thought = net(x), net.think(net.encode(x))
        face, error = net.ends[1](thought.face), net.draw_error(thought)
    assert same(whole._asdict(), {"y_star": face, "y_error": error, "gate": thought.gate})


def test_gate_moves_and_the_blocks_keep_their_order(teacher: Path, tmp_path: Path) -> None:
    _, own, old = method_of(started(tmp_path / "earlier", teacher, *PUPIL))
    for branch in ("fake", "error"):
        blocks, wanted = chain_of(own, branch), chain_of(old, branch)
        assert len(blocks) == len(wanted) == 3
        assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(blocks, wanted, strict=True))
    assert own.gate is not None and old.gate is not None
    assert same(own.gate.state_dict(), old.gate.state_dict())
    # And back: what comes before the gate is the face's.
    moved = trained(tmp_path / "moved", WIDTHS, "model.shared_blocks=1", "model.branch_blocks=2")
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
    mask, x = hide(monkeypatch), noise(4, 4, 3, 32, 32)
    method, net, old = method_of(started(tmp_path, teacher, *ALL, "loss.lambda_gan=0"))
    wanted, _, _ = expected(old, net, x, mask, grown(mask, 0.07))
    assert_told(method, x, wanted)


@pytest.mark.parametrize("rim", [0.0, 0.01, 0.07])  # of 16 places: the second is less than half of one
def test_gate_alone_can_tell_what_is_laid_over(
    rim: float, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate still shuts where both found the occluder."""
    mask, x = hide(monkeypatch), noise(4, 4, 3, 32, 32)
    options = (*ALL, f"loss.hidden_rim=[{rim},{rim}]", "loss.hidden_gate=[0.5,0.5]", "loss.lambda_gan=0")
    method, net, old = method_of(started(tmp_path, teacher, *options))
    with torch.no_grad():
        told = hidden_by_gate(old.think(old.encode(x)).gate, 0.5, 16)
    assert 0.1 < float(told.mean()) < 0.9 and not torch.equal(told, mask)
    wanted, _, _ = expected(old, net, x, mask, grown(told, rim) if rim > 0.05 else softened(told))
    assert_told(method, x, wanted)


def test_hidden_by_a_gate_is_what_is_shut_by_more_than_the_threshold() -> None:
    gate = torch.ones(1, 2, 2, 2)
    gate[:, 0, 0, 0], gate[:, 1, 0, 0] = 0.0, 0.4  # 1 - s is 0.8 there, 0 elsewhere
    rows = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]  # of 0.8, 0.6, 0.2, 0 along an edge
    assert hidden_by_gate(gate, 0.4, 4)[0, 0].tolist() == rows
    assert float(hidden_by_gate(gate, 0.7, 4).sum()) == 1.0
    assert float(hidden_by_gate(gate, 0.01, 4).sum()) == 9.0
    assert float(hidden_by_gate(gate, 0.8, 4).sum()) == 0.0


def test_threshold_is_drawn_anew(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []

    def told(gate: Tensor, threshold: float, size: int) -> Tensor:
        drawn.append(threshold)
        return hidden_by_gate(gate, 0.5, size)  # of an untrained gate

    monkeypatch.setattr(trunk, "hidden_by_gate", told)
    method, _, _ = method_of(started(tmp_path, teacher, *PUPIL, "loss.hidden_gate=[0.1,0.3]"))
    for _ in range(8):
        method.iterate(noise(4, 4, 3, 32, 32), noise(5)[:0])
    assert 0.1 <= min(drawn) < 0.16 and 0.24 < max(drawn) <= 0.3
    for wrong in ("[0.0, 0.3]", "[0.3, 0.1]", "[0.5, 1.0]"):
        with pytest.raises(ConfigError, match=r"hidden_gate is .*; wanted two numbers between 0 and 1"):
            small(tmp_path, *PUPIL, f"loss.hidden_gate={wrong}")
    distilled = (*PUPIL, "model.method=distil", "loss.hidden_gate=[0.1, 0.3]")
    with pytest.raises(ConfigError, match=r"hidden_gate is .*; wanted \[0, 0\]: a distillation goes by"):
        small(tmp_path, *distilled)


def test_log_tells_how_much_is_called_hidden(teacher: Path, tmp_path: Path) -> None:
    """Where that is everything nothing counts, and the losses alone would look like success."""
    x = noise(4, 4, 3, 32, 32)
    for name, bounds, share in (("low", "[0.05,0.06]", 1.0), ("high", "[0.98,0.99]", 0.0)):
        options = (*PUPIL, f"loss.hidden_gate={bounds}", "loss.teacher_sees=true")
        method, _, _ = method_of(started(tmp_path / name, teacher, *options))
        told = method.iterate(x, noise(5)[:0])
        assert float(told["hides"]) == share
        assert (float(told["face"]) == 0.0) == (share == 1.0)


def test_scans_that_were_kept_get_the_occluders(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = {scan: (slice(None), slice(None)) for scan in (0, 2)}
    mask, x = hide(monkeypatch, CORNERS | everywhere), noise(4, 4, 3, 32, 32)
    method, net, old = method_of(started(tmp_path, teacher, *ALL, "loss.clean_x=true", "loss.lambda_gan=0"))
    method.pools[CLEAN].images.append(noise(7)[0])
    shown, seen = x.clone(), mask.clone()
    shown[[0, 2]], seen[[0, 2]] = noise(7), 0.0
    wanted, _, _ = expected(old, net, shown, seen, grown(seen, 0.07))
    assert_told(method, x, wanted)
    assert len(method.pools[CLEAN].images) == 1  # all of these hide something


def test_critic_and_trunk_are_adversaries(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hinge losses of every second scan, which has another's occluder, and of the same without."""
    mask, x = hide(monkeypatch), noise(4, 4, 3, 32, 32)
    method, net, old = method_of(started(tmp_path, teacher, *ALL, "loss.lambda_gan=0.5"))
    _, fake, real = expected(old, net, x, mask, grown(mask, 0.07))
    critic = copy.deepcopy(method.nets["critic"])  # spectral norm moves with every look

    def scores(features: Tensor) -> list[Tensor]:
        with torch.no_grad():
            found: list[Tensor] = critic(features[::2])
        return found

    def mean(values: list[Tensor]) -> float:
        return sum(float(each.mean()) for each in values) / len(values)

    first, told_real, told_fake = scores(fake), scores(real), scores(fake)
    judged = mean([(1 - each).relu() for each in told_real]) + mean([(1 + each).relu() for each in told_fake])
    losses = method.iterate(x, x[:0])
    assert float(losses["gan"]) == pytest.approx(-0.5 * mean(first), rel=1e-4)
    assert float(losses["critic"]) == pytest.approx(judged, rel=1e-4)
    for _ in range(20):
        scores(fake)
    convolutions = [layer for layer in critic.modules() if isinstance(layer, torch.nn.Conv2d)]
    steep = [torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) for layer in convolutions]
    assert [float(norm) for norm in steep[:6]] == pytest.approx(6 * [1.0], rel=0.05)


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_last_of_an_odd_batch_gets_no_occluder(
    batch: int, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = torch.ones(batch, 1, 16, 16)
    monkeypatch.setattr(trunk, "hidden_by_both", lambda _error, gate: hidden[: len(gate)])
    method, net, old = method_of(started(tmp_path, teacher, *PUPIL))
    judged: list[int] = []
    method.nets["critic"].register_forward_pre_hook(lambda _net, given: judged.append(len(given[0])))
    x = noise(4, batch, 3, 32, 32)
    shown: list[Tensor] = []

    def think(seen: Tensor) -> Thought:
        shown.append(seen)
        return GetGanGenerator.think(net, seen)

    monkeypatch.setattr(net, "think", think)
    method.iterate(x, x[:0])
    with torch.no_grad():
        for n, seen in enumerate(shown[0]):
            got = n % 2 == 0 and n + 1 < batch
            assert torch.allclose(seen, old.encode(x[[n + 1 if got else n]])[0], atol=1e-5)
    assert judged == 3 * [batch // 2]


def test_occluder_is_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.zeros(6, 1, 4, 4)
    found[[2, 3]] = 1.0
    assert trunk._donors(found).tolist() == [3, 3, 3]
    found[5] = 1.0
    assert trunk._donors(found).tolist() == [3, 5, 3]
    assert trunk._donors(0 * found).tolist() == [1, 3, 5]


def test_what_hides_is_found_at_half_of_the_height(teacher: Path) -> None:
    net = load_checkpoint(teacher).generator().eval()
    assert isinstance(net, GetGanGenerator)
    with torch.no_grad():
        features = net.think(net.encode(noise(3, 2, 3, 32, 32)))
        found = trunk._hidden(net, features)
        error = functional.avg_pool2d(net.draw_error(features).abs().mean(dim=1, keepdim=True), 2)
    assert found.shape == (2, 1, 16, 16)
    assert torch.equal(found, hidden_by_both(error, features.gate))


def test_it_learns_what_lies_behind(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    options = ("loss.lambda_gan=0.1", "loss.hidden_gain=3", "optim.lr=0.01", "optim.iterations=60")
    method, _, _ = method_of(started(tmp_path, teacher, *PUPIL, *options))
    x, y = noise(4, 4, 3, 32, 32), noise(5, 4, 3, 32, 32)
    told = [{name: float(value) for name, value in method.iterate(x, y).items()} for _ in range(60)]
    for name, share in (("face", 0.7), ("error", 0.9)):
        assert told[-1][name] < share * told[0][name], name


def test_critic_sees_both_under_noise(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch)
    seen: list[Tensor] = []
    for deviation_of_noise in (0.0, 0.5):
        options = (*PUPIL, f"loss.disc_noise={deviation_of_noise}")
        method, _, _ = method_of(started(tmp_path / str(deviation_of_noise), teacher, *options))
        method.nets["critic"].register_forward_pre_hook(lambda _net, given: seen.append(given[0].detach()))
        torch.manual_seed(0)
        method.iterate(noise(4, 4, 3, 32, 32), noise(5)[:0])
    added = [noisy - bare for noisy, bare in zip(seen[3:], seen[:3], strict=True)]
    assert all(float(each.std()) == pytest.approx(0.5, rel=0.15) for each in added)
    assert not torch.allclose(added[0], added[2])


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_ends_are_the_teacher_s_whatever_the_norm(norm: str, tmp_path: Path) -> None:
    own = trained(tmp_path / "teacher", *TEACHER, f"model.norm={norm}")
    options = (*PUPIL, f"model.norm={norm}", "loss.clean_x=true", "optim.iterations=2")
    folder = tmp_path / "run"
    started(folder, own, *options).run()
    _, net, old = method_of(started(folder, None, *options, resume=True))
    for a, b in zip(net.ends, old.ends, strict=True):
        assert same(dict(enumerate(a.state_dict().values())), dict(enumerate(b.state_dict().values())))


def test_pupil_takes_its_critic_along(teacher: Path, tmp_path: Path) -> None:
    first = started(tmp_path / "first", teacher, *PUPIL)
    first.run()
    again = started(tmp_path / "again", tmp_path / "first" / "last.safetensors", *PUPIL, teacher=teacher)
    assert "critic from run.state.pt: critic fine" in again.progress.started_from
    assert same(again.method.nets["critic"].state_dict(), first.method.nets["critic"].state_dict())


def test_no_photo_is_rendered(teacher: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, teacher, *PUPIL)
    x, y = trainer.batches.batch(0)
    assert x.shape == (4, 3, 32, 32) and len(y) == 0


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
    bare = trained(tmp_path / "bare", *TEACHER, "model.gate=none")
    with pytest.raises(TrainingError, match="the teacher has no gate; wanted one"):
        started(tmp_path / "f", teacher, *PUPIL, teacher=bare)
    with pytest.raises(TrainingError, match="encoder and decoders are not the teacher's"):
        started(tmp_path / "g", teacher, *PUPIL, "model.widths=[2,3,4]")
    with pytest.raises(TrainingError, match=r"teacher is a ResnetGenerator; wanted a GET-GAN generator"):
        started(tmp_path / "c", teacher, *PUPIL, teacher=cyclegan)
    with pytest.raises(
        TrainingError, match=r"model\.method is trunk; wanted a trained generator to learn from"
    ):
        started(tmp_path / "d", None, *PUPIL)


def test_wants_what_it_learns_from(tmp_path: Path) -> None:
    config = small(tmp_path, *PUPIL)
    with pytest.raises(ConfigError, match=r"loss\.transplant is False; wanted true: method trunk"):
        replace(config, loss=replace(config.loss, transplant=False))
    with pytest.raises(ConfigError, match=r"optim\.batch is 1; wanted 2 or more for loss\.transplant"):
        replace(config, optim=replace(config.optim, batch=1))
    with pytest.raises(ConfigError, match=r"model\.gate is 'none'; wanted a gate for method trunk"):
        replace(config, model=replace(config.model, gate="none"))
    with pytest.raises(ConfigError, match=r"loss\.teacher_afar is 1\.0; wanted 0: method trunk"):
        replace(config, loss=replace(config.loss, teacher_afar=1.0))
    with pytest.raises(ConfigError, match="learns from pairs of scans"):
        compare_iterations(size=32, ngf=4, rounds=1, device="cpu", threads=1, recipe=RECIPE)
