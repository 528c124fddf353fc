"""--start-from: what fits of a checkpoint is taken, the rest is fresh, and the files say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from training_helpers import from_folders, state_of

from getgan.errors import CheckpointError, TrainingError
from getgan.models.checkpoint import load_checkpoint
from getgan.training.config import TrainConfig
from getgan.training.console import Console
from getgan.training.loop import Trainer

SMALL = (
    "model.widths=[2,3,4]",
    "model.up=resize",
    "model.shared_blocks=2",
    "model.reverse_blocks=2",
    "data.load_size=64",
    "optim.iterations=1",
)


def small(folder: Path, *overrides: str) -> TrainConfig:
    """On pictures from a folder: rendered faces would first teach their pose reader."""
    return from_folders(folder.parent / f"{folder.name}-pictures", *SMALL, *overrides)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a net with three levels, and its reverse net beside it."""
    folder = tmp_path_factory.mktemp("source")
    Trainer(small(folder), folder, Console(quiet=True), resume=False).run()
    return folder / "last.safetensors"


def started(folder: Path, source: Path, *overrides: str) -> Trainer:
    config = small(folder, *overrides)
    return Trainer(config, folder, Console(quiet=True), resume=False, start=source)


def test_same_network_takes_everything(source: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, source, "run.seed=9", "optim.ema=0.9")
    assert trainer.ema is not None
    for net in (trainer.method.nets["forward"], trainer.ema):
        wanted = load_checkpoint(source).state
        assert all(torch.equal(value, wanted[key]) for key, value in net.state_dict().items())
    reverse = load_checkpoint(source.with_name("last.reverse.safetensors")).state
    found = trainer.method.nets["reverse"].state_dict()
    assert all(torch.equal(value, reverse[key]) for key, value in found.items())
    assert "fresh" not in trainer.progress.started_from


def test_grown_by_a_level_keeps_all_but_the_ends(source: Path, tmp_path: Path) -> None:
    """Levels are counted from the trunk: the new one is at the outside."""
    trainer = started(tmp_path, source, "model.widths=[1,2,3,4]", "data.size=64")
    old, new = load_checkpoint(source).state, trainer.method.nets["forward"].state_dict()
    moved = {"shared.4": "shared.7", "shared.7": "shared.10", "gate": "gate"}
    moved |= {f"shared.{10 + n}.conv_block.1": f"shared.{13 + n}.conv_block.1" for n in range(2)}
    moved |= {f"fake.{n}": f"fake.{n}" for n in (1, 4)}  # behind one block: the ups of the two inner levels
    for before, after in moved.items():
        assert torch.equal(old[f"{before}.weight"], new[f"{after}.weight"]), (before, after)
        assert torch.equal(old[f"{before}.bias"], new[f"{after}.bias"]), (before, after)
    said = trainer.progress.started_from
    assert (
        "shared down x2, shared block x2, gate, fake block, fake up x2, error block, error up x2; fresh: "
        in said
    )
    assert "fresh: shared down, shared stem, fake up, fake head, error up, error head" in said


def discriminators_of(source: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: state_of(source.parent)["nets"][name] for name in ("disc_y", "disc_x")}


def test_discriminators_of_the_run_come_along(source: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, source)
    for name, wanted in discriminators_of(source).items():
        found = trainer.method.nets[name].state_dict()
        assert all(torch.equal(value, wanted[key]) for key, value in found.items())
    assert trainer.progress.started_from.endswith("from run.state.pt: disc_y fine, disc_x fine")


def test_grown_discriminators_see_at_half_the_size_what_they_saw_before(source: Path, tmp_path: Path) -> None:
    two = "model.discriminator_scales=2"
    grown = started(tmp_path / "grown", source, two, "data.size=64")
    same_size = started(tmp_path / "same", source, two)
    for name, wanted in discriminators_of(source).items():
        found = grown.method.nets[name].state_dict()
        for key, value in wanted.items():
            assert torch.equal(found[f"fine.{key}"], value)
            assert torch.equal(found[f"coarse.{key}"], value)
    said = grown.progress.started_from
    assert said.endswith("disc_y fine, disc_y coarse, disc_x fine, disc_x coarse"), said
    assert same_size.progress.started_from.endswith("from run.state.pt: disc_y fine, disc_x fine")


def test_a_third_scale_sees_what_the_second_saw_before(source: Path, tmp_path: Path) -> None:
    small = started(tmp_path / "small", source, "model.discriminator_scales=2")
    small.run()
    options = ("model.discriminator_scales=3", "data.size=64")
    grown = started(tmp_path / "grown", tmp_path / "small/last.safetensors", *options)
    for name in ("disc_y", "disc_x"):
        before, after = (run.method.nets[name].state_dict() for run in (small, grown))
        for scale, of in (("fine", "fine"), ("coarse", "fine"), ("whole", "coarse")):
            for key in ("model.0.weight", "model.2.weight"):
                assert torch.equal(after[f"{scale}.{key}"], before[f"{of}.{key}"]), (scale, key)


def test_a_run_of_four_times_the_size_shifts_the_scales_twice(source: Path, tmp_path: Path) -> None:
    small = started(tmp_path / "small", source, "model.discriminator_scales=2")
    small.run()
    options = ("model.discriminator_scales=3", "data.size=128", "data.load_size=128")
    grown = started(tmp_path / "grown", tmp_path / "small/last.safetensors", *options)
    before, after = (run.method.nets["disc_y"].state_dict() for run in (small, grown))
    for scale in ("fine", "coarse", "whole"):
        assert torch.equal(after[f"{scale}.model.2.weight"], before["fine.model.2.weight"]), scale


@pytest.mark.parametrize("what", ["missing", "other", "damaged", "newer", "thinner", "sparse", "complex"])
def test_discriminators_that_are_not_this_run_s_stay_fresh(what: str, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(source.parent, folder)
    state, options = folder / "run.state.pt", []
    if what == "missing":
        state.unlink()
        said = "discriminators fresh: no run.state.pt beside the checkpoint"
    elif what == "other":
        document = state_of(folder)
        next(iter(document["nets"]["forward"].values())).add_(1e-6)
        torch.save(document, state)
        said = "discriminators fresh: run.state.pt beside last.safetensors is of another iteration or run"
    elif what == "damaged":
        state.write_bytes(state.read_bytes()[:-100])
        said = "discriminators fresh: run.state.pt cannot be read as a training state"
    elif what == "newer":
        document = state_of(folder)
        document["config"] = document["config"].replace("[loss]", "[loss]\nlambda_new = 1.0")
        torch.save(document, state)
        said = "fresh: run.state.pt is of another version, config: loss.lambda_new is no option"
    elif what in ("sparse", "complex"):
        document = state_of(folder)
        for name in ("disc_y", "disc_x"):
            for key, value in document["nets"][name].items():
                document["nets"][name][key] = value.to_sparse() if what == "sparse" else value + 1j
        torch.save(document, state)
        said = "discriminators from run.state.pt: nothing fits"
    else:
        options, said = ["model.ndf=3"], "discriminators from run.state.pt: nothing fits"
    trainer = started(tmp_path / "run", folder / source.name, *options)
    assert said in trainer.progress.started_from.splitlines()[-1]
    fresh = Trainer(small(tmp_path / "f", *options), tmp_path / "f", Console(quiet=True), resume=False)
    for name in ("disc_y", "disc_x"):
        found, wanted = (each.method.nets[name].state_dict() for each in (trainer, fresh))
        assert all(torch.equal(value, wanted[key]) for key, value in found.items())


def test_deeper_net_takes_the_first_blocks(source: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, source, "model.shared_blocks=3")
    assert "shared stem, shared block x2, gate" in trainer.progress.started_from.splitlines()[0]
    assert "; fresh: shared block\n" in trainer.progress.started_from


def test_another_stride_draws_the_ends_anew(source: Path, tmp_path: Path) -> None:
    trainer = started(tmp_path, source, "model.stride=2", "data.size=64")
    assert "; fresh: fake head, error head\n" in trainer.progress.started_from


def test_without_a_reverse_net_beside_it(source: Path, tmp_path: Path) -> None:
    alone = shutil.copy(source, tmp_path / "alone.safetensors")
    trainer = started(tmp_path / "run", Path(alone))
    assert (
        "reverse generator fresh: no alone.reverse.safetensors beside the checkpoint"
        in trainer.progress.started_from
    )


def test_files_say_where_the_weights_came_from(source: Path, tmp_path: Path) -> None:
    """Also after a resume, which has forgotten the command line."""
    trainer = started(tmp_path, source)
    trainer.run()
    again = Trainer(small(tmp_path), tmp_path, Console(quiet=True), resume=True)
    again._save()
    sha256 = load_checkpoint(source).sha256
    for name in ("last", "last.reverse"):
        notes = load_checkpoint(tmp_path / f"{name}.safetensors").provenance.notes
        assert f"generator from last.safetensors (sha256 {sha256})" in notes
        assert str(source.parent) not in notes  # a path can name a clinic or a patient
    assert state_of(tmp_path)["progress"]["started_from"] == trainer.progress.started_from


def test_what_was_taken_is_said_once(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a resume nothing is taken from the file any more."""
    config = small(tmp_path)
    Trainer(config, tmp_path, Console(), resume=False, start=source).run()
    assert "generator from last.safetensors" in capsys.readouterr().err
    Trainer(config, tmp_path, Console(), resume=True).run()
    said = capsys.readouterr().err
    assert "the run is complete; for more iterations --start-from its last.safetensors elsewhere" in said
    assert "generator from" not in said
    assert "rendering" not in said


def test_refuses_a_folder_that_holds_a_run(source: Path, tmp_path: Path) -> None:
    started(tmp_path, source).run()
    with pytest.raises(TrainingError, match="leave --start-from out to go on with it"):
        Trainer(small(tmp_path), tmp_path, Console(quiet=True), resume=True, start=source)


def test_refuses_what_fits_nowhere(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"no part of last\.safetensors .getgan. fits this run's ResnetGenerator"
    ):
        started(tmp_path, source, "model.method=cyclegan", "model.widths=[5,6,7]")
    with pytest.raises(CheckpointError, match="training state"):
        started(tmp_path, source.with_name("run.state.pt"))
