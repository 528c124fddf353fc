"""A larger GET-GAN learns from a trained smaller one: what it learns, whose teacher it is, and going on."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_helpers import (
    SMALL,
    assert_resumed_alike,
    from_folders,
    noise,
    small,
    started,
    trained,
)

from getgan.errors import ConfigError, GetganError, OutputError, TrainingError
from getgan.models.checkpoint import load_checkpoint, save_checkpoint
from getgan.models.getgan import GetGanOutput
from getgan.models.tensors import tensor_from_images
from getgan.training.config import config_from_toml_text
from getgan.training.faces import SceneConfig, render_ultrasound, seed_of
from getgan.training.methods import distil
from getgan.training.methods.distil import Distil, from_afar
from getgan.training.methods.getgan import CLEAN
from getgan.training.methods.hiding import (
    CLEAN_BELOW,
    grown,
    hidden_in,
    laid_over_each,
    transplanted,
    with_clean_scans,
)
from getgan.training.steps import apart

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
LARGER = ("model.method=distil", "model.widths=[2,3,4,5]", "data.size=64")
SAME = ("model.method=distil",)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for 32 pixels."""
    return trained(tmp_path_factory.mktemp("teacher"))


def test_who_is_its_own_teacher_has_nothing_to_learn(teacher: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, teacher, *SAME, "loss.lambda_gan=0")
    losses = trainer.method.iterate(noise(1), noise(2))
    # But for rounding: who learns on a CPU adds in another order than who answers.
    assert {name: float(losses[name]) for name in ("face", "error", "gate")} == pytest.approx(
        dict.fromkeys(("face", "error", "gate"), 0.0), abs=5e-6
    )


def test_it_nears_the_teacher_at_the_teacher_s_size(teacher: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, teacher, *LARGER, "loss.lambda_gan=0", "optim.lr=0.01", "optim.iterations=40")
    x, y = noise(1, 1, 3, 64, 64), noise(2, 1, 3, 64, 64)
    told = [{name: float(value) for name, value in trainer.method.iterate(x, y).items()} for _ in range(40)]
    for name in ("face", "error", "gate"):
        assert told[-1][name] < 0.85 * told[0][name], name
    generator = load_checkpoint(teacher).generator().eval()
    with torch.no_grad():
        wanted = generator.translate(torch.nn.functional.avg_pool2d(x, 2))
        found = torch.nn.functional.avg_pool2d(trainer.generator.translate(x), 2)
    assert 10 * float((found - wanted).abs().mean()) <= told[-1]["face"]


def seen_by_a_teacher(*hidden: tuple[int, slice, slice]) -> GetGanOutput:
    """Of four scans of 32x32; in (scan, rows, columns) y_e holds something and the gate is shut."""
    face, error, gate = noise(2, 4, 3, 32, 32), torch.zeros(4, 3, 32, 32), torch.full((4, 5, 8, 8), 0.9)
    error[:, :, 28:] = -1.0  # y_e holds something of everybody there, and nothing hides it
    for scan, rows, columns in hidden:
        error[scan, :, rows, columns] = 1.0
        gate[scan, :, :2, :2] = 0.1
    return GetGanOutput(face, error, gate)


def test_what_hides_a_face_is_in_y_e_where_the_gate_is_shut() -> None:
    hidden = hidden_in(seen_by_a_teacher((1, slice(0, 12), slice(0, 14))))
    assert hidden.shape == (4, 1, 32, 32)
    assert float(hidden[1, :, :11, :13].min()) == 1.0  # its edge is soft
    assert float(hidden[1, :, 14:].max()) == float(hidden[1, :, :, 16:].max()) == 0.0
    assert float(hidden[[0, 2, 3]].max()) == 0.0


def test_what_hides_a_face_is_taken_wider_than_it_was_found() -> None:
    found = torch.zeros(1, 1, 64, 64)
    found[..., 20:30, 20:30] = 1.0
    assert torch.equal(grown(found, 0.0), found)
    wider = grown(found, 0.125)  # 8 pixels each way, and an edge of 2 more and 2 less
    assert float(wider[..., 14:36, 14:36].min()) == 1.0
    assert float(wider[..., 10:40, 10:40].min()) > 0.0
    outside = torch.ones_like(found, dtype=torch.bool)
    outside[..., 10:40, 10:40] = False
    assert float(wider[outside].max()) == 0.0
    everywhere = torch.ones(1, 1, 64, 64)
    assert torch.equal(grown(everywhere, 0.125), everywhere)  # the picture's edge is none of the mask's


def test_rim_is_drawn_anew_and_counts_for_both(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the rim is laid over the other scan, and what the teacher says there does not count."""
    corner = torch.zeros(2, 1, 32, 32)
    corner[1, :, :8, :8] = 1.0
    monkeypatch.setattr(distil, "hidden_in", lambda _taught: corner)
    counted: list[Tensor] = []
    laid: list[Tensor] = []

    def told_apart(face: Tensor, wanted: Tensor, where: Tensor | None) -> Tensor:
        assert where is not None
        counted.append(where)
        return apart(face, wanted, where)

    def told_laid(hides: Tensor) -> Tensor:
        laid.append(hides)
        return laid_over_each(hides)

    monkeypatch.setattr(distil, "apart", told_apart)
    monkeypatch.setattr(distil, "laid_over_each", told_laid)
    options = ("optim.batch=2", "loss.transplant=true", "loss.teacher_sees=true")
    for rim, wider in ((0.0, False), (0.125, True)):
        always = f"loss.hidden_rim=[{rim}, {rim}]"
        method = started(tmp_path / str(rim), teacher, *SAME, *options, always).method
        method.iterate(noise(3, 2, 3, 32, 32), noise(4, 2, 3, 32, 32))
        hides, found = laid[-2:]
        assert (float(counted[-1][1, :, 9, 9]) == 0.0) == wider == (float(hides[1, :, 9, 9]) == 1.0)
        assert float(counted[-1][1, :, 20, 20]) == 1.0 and float(hides[1, :, 20, 20]) == 0.0
        assert torch.equal(found, corner)  # where the gate shuts
    method = started(tmp_path / "drawn", teacher, *SAME, *options, "loss.hidden_rim=[0.03, 0.25]").method
    for _ in range(8):
        method.iterate(noise(3, 2, 3, 32, 32), noise(4, 2, 3, 32, 32))
    shares = {float(hides.mean()) for hides in laid[-16::2]}
    assert len(shares) > 2 and max(shares) > 2 * min(shares)
    for wrong in ("[0.1, 0.05]", "[0.1, 0.3]", "[-0.1, 0.1]"):
        with pytest.raises(ConfigError, match=r"hidden_rim is .*; wanted two shares from 0 to 0\.25, rising"):
            small(tmp_path, *SAME, f"loss.hidden_rim={wrong}")


def test_every_second_scan_gets_the_next_one_s_occluder() -> None:
    x = noise(1, 4, 3, 64, 64)  # twice the teacher's size
    before = seen_by_a_teacher((1, slice(0, 12), slice(0, 14)), (2, slice(0, 8), slice(0, 8)))
    laid = laid_over_each(hidden_in(before))
    assert float(laid[0, :, :11, :13].min()) == 1.0 and float(laid[1:].max()) == 0.0
    seen, taught = transplanted(x, before, laid, laid)
    assert torch.equal(taught.y_star, before.y_star)
    for picture, own, size in ((seen, x, 2), (taught.y_error, before.y_error, 1)):
        assert torch.equal(picture[1], own[1]) and torch.equal(picture[3], own[3])
        rows, columns = slice(0, 10 * size), slice(0, 12 * size)
        assert torch.equal(picture[0, :, rows, columns], own[1, :, rows, columns])  # the next one's
        assert torch.equal(picture[0, :, 15 * size :], own[0, :, 15 * size :])
        assert torch.equal(picture[2], own[2])  # of the fourth nothing is hidden
    assert taught.gate is not None and before.gate is not None
    assert float(taught.gate[0, :, :2, :3].max()) == 0.0
    # Laid over with a rim the gate shuts as before, and y_e has all of it.
    _, rimmed = transplanted(x, before, grown(laid, 0.125), laid)
    assert rimmed.gate is not None and torch.equal(rimmed.gate, taught.gate)
    assert torch.equal(rimmed.y_error[0, :, :14, :16], before.y_error[1, :, :14, :16])
    assert torch.equal(taught.gate[0, :, 4:], before.gate[0, :, 4:])
    assert torch.equal(taught.gate[1:], before.gate[1:])


def test_from_afar_an_eye_nearly_in_place_costs_less_than_one_far_off() -> None:
    def eye(column: int) -> torch.Tensor:
        face = torch.zeros(1, 3, 128, 128)
        face[:, :, 60:66, column : column + 6] = -1.0
        return face

    near, far = (apart(eye(40), eye(column), None) for column in (48, 100))
    assert near == far > 0  # pixel by pixel both are as wrong
    evenly = torch.ones(1, 1, 128, 128)
    left = evenly.clone()
    left[..., 80:] = 0.0
    for where in (None, evenly):
        near, far = (from_afar(eye(40), eye(column), where) for column in (48, 100))
        assert 0 < near < 0.9 * far
        assert from_afar(eye(40), eye(40), where) == 0
    assert from_afar(eye(100), eye(90), left) == 0 < from_afar(eye(40), eye(100), left)
    # Weights whose mean is not 1 change nothing of the scale.
    assert float(from_afar(eye(40), eye(52), 3 * left)) == pytest.approx(
        float(from_afar(eye(40), eye(52), left)), rel=1e-6
    )
    # A picture that is off by the same everywhere is off by that in every window of both sizes.
    off = from_afar(torch.full((1, 3, 128, 128), 0.25), torch.zeros(1, 3, 128, 128), evenly)
    assert float(off) == pytest.approx(0.5, rel=1e-6)
    # One pixel alone: windows of 6 and 12 pixels at 128, every third and every sixth.
    point = torch.zeros(1, 1, 128, 128)
    point[..., 64, 64] = 1.0
    wanted = 4 / 36 / 41**2 + 4 / 144 / 20**2
    assert float(from_afar(point, torch.zeros_like(point), None)) == pytest.approx(wanted, rel=1e-5)


def test_from_afar_is_one_of_the_losses(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the weights of the difference itself, of another network than the teacher's."""
    left = torch.zeros(2, 1, 32, 32)
    left[0, :, :, :16] = 1.0
    monkeypatch.setattr(distil, "laid_over_each", lambda _hides: left)
    options = ("optim.batch=2", "loss.transplant=true", "loss.hidden_gain=3", "loss.teacher_afar=2")
    method = started(tmp_path, teacher, *SAME, *options).method
    assert isinstance(method, Distil) and method._teacher is not None
    with torch.no_grad():
        for value in method.nets["forward"].parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(5)))
    x = noise(3, 2, 3, 32, 32)
    seen, taught = transplanted(x, method._teacher(x), left, left)
    face = method.nets["forward"](seen).y_star.detach()
    wanted, even = (
        10 * 2 * float(from_afar(face, taught.y_star, where)) for where in (1.0 + 2.0 * left, None)
    )
    assert wanted > 0.01 and abs(wanted - even) > 0.01 * wanted
    assert float(method.iterate(x, noise(4, 2, 3, 32, 32))["afar"]) == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(ConfigError, match=r"loss\.teacher_afar is -1\.0; wanted a number from 0 to 100"):
        small(tmp_path, *SAME, "loss.teacher_afar=-1")


def test_what_the_teacher_did_not_see_does_not_count(teacher: Path, tmp_path: Path) -> None:
    face = noise(1, 2, 3, 32, 32)
    seen = torch.ones(2, 1, 32, 32)
    seen[0, :, :, :16] = 0.0  # of the first scan the left half is hidden
    wrong = face.clone()
    wrong[0, :, :, :16] += 0.5
    assert float(apart(wrong, face, seen)) == 0.0 < float(apart(wrong, face, None))
    wrong[1] += 0.5  # which was seen whole: two thirds of what counts, by a half each
    assert float(apart(wrong, face, seen)) == pytest.approx(0.5 * 2 / 3)
    trainer = started(tmp_path, teacher, *SAME, "loss.teacher_sees=true", "loss.lambda_gan=0")
    assert float(trainer.method.iterate(noise(3), noise(4))["face"]) < 5e-6  # its own teacher


def test_what_was_hidden_can_count_more(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When an occluder was laid over the left half of the first scan."""
    left = torch.zeros(2, 1, 32, 32)
    left[0, :, :, :16] = 1.0
    monkeypatch.setattr(distil, "laid_over_each", lambda _hides: left)
    told = {}
    for gain in (1, 3):
        options = ("optim.batch=2", "loss.transplant=true", f"loss.hidden_gain={gain}")
        trainer = started(tmp_path / str(gain), teacher, *SAME, *options)
        method = trainer.method
        assert isinstance(method, Distil) and method._teacher is not None
        x = noise(3, 2, 3, 32, 32)
        seen, taught = transplanted(x, method._teacher(x), left, left)
        off = (method.nets["forward"](seen).y_star - taught.y_star).detach().abs()
        hidden = float(off[0, :, :, :16].mean())
        rest = float((off[0, :, :, 16:].mean() + 2 * off[1].mean()) / 3)
        told[gain] = float(method.iterate(x, noise(4, 2, 3, 32, 32))["face"]), hidden, rest
    for gain, (face, hidden, rest) in told.items():
        assert hidden > rest > 0  # its own teacher, which did not see this
        assert face == pytest.approx(10 * (gain * hidden + 3 * rest) / (gain + 3), rel=1e-3)
    with pytest.raises(ConfigError, match=r"loss\.hidden_gain is 0\.0; wanted a number in \(0, 100\]"):
        small(tmp_path, *SAME, "loss.hidden_gain=0")
    with pytest.raises(ConfigError, match=r"loss\.hidden_gain is 3\.0; wanted 1 without loss\.transplant"):
        small(tmp_path, *SAME, "loss.hidden_gain=3")


def test_what_the_teacher_did_not_see_does_not_count_where_it_was_hidden(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = torch.zeros(2, 1, 32, 32)
    everywhere[0] = 1.0
    blind = torch.zeros(2, 1, 32, 32)
    blind[:, :, :16] = 1.0
    monkeypatch.setattr(distil, "laid_over_each", lambda _hides: everywhere)
    monkeypatch.setattr(distil, "hidden_in", lambda _taught: blind)
    options = ("loss.transplant=true", "loss.hidden_gain=3", "loss.teacher_sees=true", "loss.lambda_gan=0")
    method = started(tmp_path, teacher, *SAME, "optim.batch=2", *options).method
    assert isinstance(method, Distil) and method._teacher is not None
    x = noise(3, 2, 3, 32, 32)
    seen, taught = transplanted(x, method._teacher(x), everywhere, everywhere)
    off = (method.nets["forward"](seen).y_star - taught.y_star).detach().abs()[:, :, 16:]
    wanted = 10 * float((3 * off[0].mean() + off[1].mean()) / 4)
    assert float(method.iterate(x, noise(4, 2, 3, 32, 32))["face"]) == pytest.approx(wanted, rel=1e-3)


def test_shipped_teacher_finds_an_occluder_and_not_a_nose() -> None:
    checkpoint = load_checkpoint(EXAMPLES / "getgan-128.safetensors")
    generator, shares = checkpoint.generator().eval(), []
    for occlusion in (0.0, 1.0):
        scene = SceneConfig(size=checkpoint.contract.size, occlusion=occlusion)
        scans = [render_ultrasound(scene, seed_of("ultrasound", "test", n)).ultrasound for n in range(8)]
        with torch.no_grad():
            found = hidden_in(generator(tensor_from_images(np.stack(scans))))
        shares.append([float(share) for share in found.mean(dim=(1, 2, 3))])
    assert max(shares[0]) < CLEAN_BELOW
    # Not all of them: one of these eight hides nothing that the teacher finds.
    assert float(np.median(shares[1])) > 20 * CLEAN_BELOW


def test_discriminator_sees_both_under_noise(teacher: Path, tmp_path: Path) -> None:
    quiet, noisy = (
        started(tmp_path / name, teacher, *SAME, f"loss.disc_noise={deviation}").method
        for name, deviation in (("quiet", 0), ("noisy", 0.5))
    )
    seen: list[Tensor] = []
    for method in (quiet, noisy):
        method.nets["disc_y"].register_forward_pre_hook(lambda _net, given: seen.append(given[0].detach()))
        torch.manual_seed(0)
        method.iterate(noise(1), noise(2))
    fake, photo, _pooled = seen[:3]
    assert torch.equal(photo, noise(2))
    added = [picture - bare for picture, bare in zip(seen[3:], (fake, photo, fake), strict=True)]
    assert all(float(each.std()) == pytest.approx(0.5, rel=0.1) for each in added)
    for one, other in itertools.combinations(added, 2):
        assert float((one - other).std()) == pytest.approx(0.5 * 2**0.5, rel=0.1)  # no noise is seen twice
    with pytest.raises(ConfigError, match=r"loss\.disc_noise is 2\.0; wanted a number from 0 to 1"):
        small(tmp_path, *SAME, "loss.disc_noise=2")


def test_scans_that_get_an_occluder_are_those_without_one(teacher: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, teacher, *SAME, "optim.batch=2", "loss.transplant=true", "loss.clean_x=true")
    pool = trainer.method.pools[CLEAN]
    x, half = noise(1, 4, 3, 32, 32), (slice(0, 12), slice(0, 14))
    hidden = seen_by_a_teacher(*((scan, *half) for scan in range(4)))
    taught = seen_by_a_teacher(*((scan, *half) for scan in range(3)))  # nothing hides the fourth
    kept = with_clean_scans(x, hidden_in(hidden), pool)
    assert torch.equal(kept, x)  # none is known yet
    kept = with_clean_scans(x, hidden_in(taught), pool)
    assert torch.equal(kept[0], x[3]) and torch.equal(kept[2], x[3])
    assert torch.equal(kept[1::2], x[1::2])
    kept = with_clean_scans(x.flip(1), hidden_in(hidden), pool)  # the one that was kept before
    assert torch.equal(kept[0], x[3]) and torch.equal(kept[1], x.flip(1)[1])
    with pytest.raises(ConfigError, match=r"loss\.clean_x is True; wanted false without loss\.transplant"):
        small(tmp_path, *SAME, "loss.clean_x=true")


def test_transplanting_wants_a_gate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.transplant is True; wanted false without a gate"):
        small(tmp_path, *SAME, "optim.batch=2", "model.gate=none", "loss.transplant=true")
    with pytest.raises(ConfigError, match=r"loss\.teacher_sees is True; wanted false without a gate"):
        small(tmp_path, *SAME, "model.gate=none", "loss.teacher_sees=true")
    with pytest.raises(ConfigError, match=r"optim\.batch is 1; wanted 2 or more for loss\.transplant"):
        small(tmp_path, *SAME, "loss.transplant=true")


def test_only_the_generator_and_its_discriminator_move(teacher: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, teacher, *LARGER)
    assert set(trainer.method.nets) == {"forward", "disc_y"}
    moved = {
        name: {key: value.clone() for key, value in net.state_dict().items()}
        for name, net in trainer.method.nets.items()
    }
    trainer.method.iterate(noise(1, 1, 3, 64, 64), noise(2, 1, 3, 64, 64))
    for name, net in trainer.method.nets.items():
        assert any(not torch.equal(value, moved[name][key]) for key, value in net.state_dict().items())


def test_run_says_who_taught_it_and_writes_no_reverse(teacher: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    started(folder, teacher, *LARGER).run()
    checkpoint = load_checkpoint(folder / "last.safetensors")
    wanted = load_checkpoint(teacher).sha256
    assert checkpoint.arch == "getgan"
    assert f"taught by sha256 {wanted}" in checkpoint.provenance.notes
    assert config_from_toml_text(checkpoint.provenance.config_toml).model.method == "distil"
    kept = load_checkpoint(folder / "teacher.safetensors").state
    assert all(torch.equal(value, kept[key]) for key, value in load_checkpoint(teacher).state.items())
    assert not list(folder.glob("*.reverse.safetensors"))
    assert list((folder / "samples").iterdir())


@pytest.mark.parametrize("options", [LARGER, (*SAME, "loss.mirror=true", "loss.teacher_real=true")])
def test_resumed_run_is_the_run_that_was_not_stopped(
    options: tuple[str, ...], teacher: Path, tmp_path: Path
) -> None:
    pictures = f'data.root="{(tmp_path / "pictures").as_posix()}"'
    config = from_folders(
        tmp_path / "pictures", *SMALL, *options, pictures, "run.checkpoint_every=2", "optim.ema=0.5"
    )
    config = replace(config, optim=replace(config.optim, iterations=4))
    assert_resumed_alike(config, tmp_path, teacher)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_run_goes_on_with_its_own_teacher_alone(suffix: str, teacher: Path, tmp_path: Path) -> None:
    own = tmp_path / f"own{suffix}"
    save_checkpoint(load_checkpoint(teacher), own)
    other = trained(tmp_path / "second", "run.seed=5")
    folder, options = tmp_path / "run", (*LARGER, "optim.iterations=2")
    started(folder, own, *options).run()
    kept = folder / "teacher.safetensors"
    before = kept.read_bytes()
    started(folder, None, *options, resume=True)
    for wrong in (other, tmp_path / "nowhere.safetensors"):
        with pytest.raises(GetganError, match=r"not the teacher that this run began with|no such file"):
            started(folder, None, *options, teacher=wrong, resume=True)
    shutil.copy(other, kept)
    with pytest.raises(TrainingError, match="is not the teacher that this run began with"):
        started(folder, None, *options, resume=True)
    kept.unlink()
    within = shutil.copy(own, folder / f"mine{suffix}")
    started(folder, None, *options, teacher=Path(within), resume=True).run()
    assert kept.read_bytes() == before
    kept.unlink()
    with pytest.raises(TrainingError, match=r"has no teacher\.safetensors any more; name .* with --teacher"):
        started(folder, None, *options, resume=True)
    started(folder, None, *options, teacher=own, resume=True).run()
    assert kept.read_bytes() == before


def test_state_comes_before_the_teacher(teacher: Path, tmp_path: Path) -> None:
    """What stands in a folder without a state is another's: a failure must not leave a run like that."""
    folder = tmp_path / "run"
    run = started(folder, teacher, *LARGER)
    (folder / "teacher.safetensors").mkdir(parents=True)  # where nothing can be written
    with pytest.raises(OutputError):
        run.run()
    assert (folder / "run.state.pt").exists()
    (folder / "teacher.safetensors").rmdir()
    started(folder, None, *LARGER, teacher=teacher, resume=True).run()
    assert (folder / "last.safetensors").exists() and (folder / "teacher.safetensors").exists()


def test_a_teacher_says_for_which_size_it_is(teacher: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.pth"
    torch.save(dict(load_checkpoint(teacher).state), bare)
    with pytest.raises(TrainingError, match="does not say for which size of picture it was trained"):
        started(tmp_path / "run", teacher, *LARGER, "data.size=256", "data.load_size=256", teacher=bare)


def test_a_teacher_of_the_same_name_stays(teacher: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "teacher.safetensors").write_bytes(b"somebody else's")
    with pytest.raises(TrainingError, match=r"holds no run .* but a teacher\.safetensors"):
        started(folder, teacher, *LARGER)
    assert (folder / "teacher.safetensors").read_bytes() == b"somebody else's"


def test_another_teacher_than_the_one_it_starts_from(teacher: Path, tmp_path: Path) -> None:
    start = trained(tmp_path / "start", "model.widths=[2,3,4,5]", "data.size=64")
    trainer = started(tmp_path / "run", start, *LARGER, teacher=teacher)
    assert trainer.progress.teacher == load_checkpoint(teacher).sha256
    assert (
        start.name in trainer.progress.started_from and "fresh: shared" not in trainer.progress.started_from
    )


def test_without_a_teacher_there_is_no_distillation(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"wanted a trained generator to learn from: --start-from"):
        started(tmp_path, None, *LARGER)


@pytest.mark.parametrize(
    ("of_teacher", "of_run", "said"),
    [
        (("model.method=cyclegan",), (), "wanted a GET-GAN generator"),
        (("model.gate=none",), (), "wanted both with or without"),
        (("data.size=64",), ("data.size=96", "data.load_size=96"), "have 64 pixels, this run's 96"),
        (("data.size=64",), ("data.size=32",), "have 64 pixels, this run's 32"),
    ],
)
def test_teachers_that_cannot_teach(
    of_teacher: tuple[str, ...], of_run: tuple[str, ...], said: str, teacher: Path, tmp_path: Path
) -> None:
    other = trained(tmp_path / "other", *of_teacher)
    with pytest.raises(TrainingError, match=said):
        started(tmp_path / "run", teacher, *LARGER, *of_run, teacher=other)
    assert not (tmp_path / "run").exists()


def test_other_methods_have_no_teacher(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"leave --teacher out"):
        started(tmp_path / "run", None, teacher=teacher)
