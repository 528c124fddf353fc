"""A run goes on after kill -9 as if nothing had happened, on one process or two, and fails cleanly."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_helpers
from training_helpers import (
    GROUP,
    Stopping,
    from_folders,
    log_of,
    recorded_gradients,
    resume_elsewhere,
    same,
    state_of,
    tiny,
    train,
    train_until_killed,
    train_with_file_limit,
)

from getgan.errors import ConfigError, OutputError, TrainingError
from getgan.models.checkpoint import load_checkpoint, save_checkpoint
from getgan.training import loop
from getgan.training.config import TrainConfig, config_to_toml_text, load_config
from getgan.training.data import Batches
from getgan.training.folder import CONFIG, LOG, STATE
from getgan.training.loop import Summary, Trainer

# New processes as quick as forks: PyTorch is loaded once, in a server that never ran any of it.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["getgan.training.loop"])


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def in_a_process(function: Callable[..., None], *arguments: object) -> None:
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == 0


def kill_in_the_middle(config: TrainConfig, folder: Path, at: int) -> None:
    """kill -9 a process that is between the forward passes and the log of iteration `at`."""
    marker = folder.with_suffix(".marker")
    process = PROCESSES.Process(target=train_until_killed, args=(config, folder, at, marker))
    process.start()
    deadline = time.monotonic() + 120
    while not marker.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marker.exists()
    process.kill()
    process.join(30)
    assert process.exitcode == -9


@pytest.mark.parametrize(
    "options",
    [
        ["optim.ema=0.9", "optim.pool=2", "loss.weight_blur=0.05", "loss.lambda_keep=1"],
        ["optim.updates=joint", "optim.pool=1", "optim.batch=2", "run.precision=bf16", "model.norm=batch"],
        [
            *(
                "loss.weight_of=residual",
                "loss.cycle_noise=0.1",
                "loss.transplant=true",
                "loss.lambda_gate=2",
            ),
            *("loss.clean_x=true", "loss.weight_floor=9", "optim.pool=3"),  # every scan is kept
        ],
        ["model.method=cyclegan", "optim.pool=2", "loss.cycle_noise=0.1"],
        ["model.method=ugatit", "optim.ema=0.5"],
    ],
    ids=["getgan", "getgan-joint", "getgan-residual", "cyclegan", "ugatit"],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(options: list[str], tmp_path: Path) -> None:
    rhythm = ["run.checkpoint_every=4", "run.probe_every=3", "run.sample_every=3", "optim.iterations=8"]
    config = from_folders(tmp_path / "data", *rhythm, *options)
    train(config, tmp_path / "straight")
    killed = tmp_path / "killed"
    kill_in_the_middle(config, killed, at=6)
    assert state_of(killed)["progress"]["iteration"] == 4
    assert log_of(killed)[-1]["iteration"] == 5  # past the state: to be cut off
    with open(killed / LOG, "a") as log:
        log.write('{"iteration": 3, "los')  # a torn line
    in_a_process(resume_elsewhere, config, killed)

    assert log_of(killed) == log_of(tmp_path / "straight")
    assert [line["iteration"] for line in log_of(killed) if "losses" in line] == list(range(1, 9))
    assert same(state_of(killed), state_of(tmp_path / "straight"))
    for name in ("last.safetensors", "last.reverse.safetensors"):
        one, other = (load_checkpoint(folder / name) for folder in (killed, tmp_path / "straight"))
        assert same(dict(one.state), dict(other.state))
        assert one.provenance.iterations == 8
    pools = state_of(killed)["pools"][0]
    if "optim.pool=2" in options:
        assert [len(pools[domain]) for domain in ("y", "x")] == [2, 2]  # full: old pictures were drawn


def test_a_run_that_was_killed_before_its_first_state_starts_anew(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=3", "run.probe_every=9")
    with pytest.raises(InterruptedError):
        train(config, tmp_path / "run", stop_at=3)
    assert len(log_of(tmp_path / "run")) == 2
    train(config, tmp_path / "run", resume=True)
    assert [line["iteration"] for line in log_of(tmp_path / "run") if "losses" in line] == [1, 2, 3]


def test_rhythm_and_machine_may_change_and_change_nothing(tmp_path: Path) -> None:
    options = ("optim.iterations=4", "run.checkpoint_every=2", "model.norm=batch", "optim.batch=2")
    config = from_folders(tmp_path / "data", *options)
    train(config, tmp_path / "straight")
    with pytest.raises(InterruptedError):
        train(config, tmp_path / "run", stop_at=3)
    often = from_folders(tmp_path / "data", *options, "run.sample_every=1", "run.probe_every=1")
    train(often, tmp_path / "run", resume=True)
    one, other = state_of(tmp_path / "run"), state_of(tmp_path / "straight")
    assert same(one["nets"], other["nets"])
    assert same(one["updates"], other["updates"])


def test_two_processes_of_torchrun_are_one_run(tmp_path: Path) -> None:
    alone = Trainer(
        from_folders(tmp_path / "data", *GROUP, "optim.batch=2"),
        tmp_path / "alone",
        Stopping(99),
        resume=False,
    )
    x, y = alone.batches.batch(0)  # the pictures that the two ranks see, one each
    wanted = recorded_gradients(alone.method, x, y)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, training_helpers.__file__, str(tmp_path), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks: list[dict[str, Any]] = [torch.load(tmp_path / f"rank{n}.pt", weights_only=True) for n in (0, 1)]
    assert ranks[0]["straight"] == ranks[1]["straight"] == ranks[0]["resumed"] == ranks[1]["resumed"]
    assert ranks[0]["straight"] != ranks[0]["start"] == ranks[1]["start"]
    assert same(state_of(tmp_path / "straight"), state_of(tmp_path / "resumed"))
    assert len(state_of(tmp_path / "straight")["pools"]) == 2
    # Gloo's threads are gone with the group: one that lives into the interpreter's end aborts it.
    assert not [name for rank in ranks for name in rank["threads"] if "gloo" in name]
    lines = [line["iteration"] for line in log_of(tmp_path / "resumed") if "losses" in line]
    assert lines == [1, 2, 3, 4, 5]  # rank 0 alone wrote

    # The mean of the ranks' gradients is that of the batch mean. Not the parameters are compared: Adam's
    # first step is lr * sign(g), which turns a rounding error near 0 into a whole step. Convolutions
    # add up a batch of 2 in another order, so float32 agrees to about 1e-5 of the largest.
    assert [len(kind) for kind in wanted] == [4, 1]
    for kind in range(2):
        for rank in ranks:
            for mine, theirs in zip(rank["gradients"][kind], wanted[kind], strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=1")
    train(config, tmp_path / "run")
    document = torch.load(tmp_path / "run" / STATE, weights_only=True)
    document["pools"] *= 2
    torch.save(document, tmp_path / "run" / STATE)
    with pytest.raises(TrainingError, match="written by 2 processes; found 1"):
        train(config, tmp_path / "run", resume=True)


def test_a_full_disk_leaves_the_old_state_and_no_half_file(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=4", "run.checkpoint_every=2")
    folder, message = tmp_path / "run", tmp_path / "message"
    with pytest.raises(InterruptedError):
        train(config, folder, stop_at=3)
    before = (folder / STATE).read_bytes()
    others = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != STATE]
    assert max(others) < len(before) - 1  # only the state is too large
    in_a_process(train_with_file_limit, config, folder, len(before) - 1, message)
    kind, *lines = message.read_text().splitlines()
    assert kind == OutputError.__name__
    assert len(lines) == 1
    assert "free space" in lines[0]
    assert not list(folder.rglob("*.tmp"))
    assert (folder / STATE).read_bytes() == before
    train(config, folder, resume=True)
    assert state_of(folder)["progress"]["iteration"] == 4


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make"):
        train(from_folders(tmp_path / "data"), tmp_path / "file" / "run")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=6", "run.checkpoint_every=2")
    folder = tmp_path / "run"
    with pytest.raises(InterruptedError):
        train(config, folder, stop_at=3)
    before = {name: (folder / name).read_bytes() for name in (STATE, "last.safetensors")}
    trainer = Trainer(config, folder, Stopping(99), resume=True)
    with torch.no_grad():
        next(trainer.method.nets["reverse"].parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"not finite at iteration 3.*--start-from .*last\.safetensors"):
        trainer.run()
    assert before == {name: (folder / name).read_bytes() for name in before}
    assert not list(folder.rglob("*.tmp"))
    train(config, folder, resume=True)


def test_resuming_with_other_options_names_the_first(tmp_path: Path) -> None:
    train(from_folders(tmp_path / "data", "optim.iterations=1"), tmp_path / "run")
    state = (tmp_path / "run" / STATE).read_bytes()
    for option, there in (
        ("loss.lambda_rec=3.0", "there lambda_rec = 10.0, here lambda_rec = 3.0"),
        ("run.seed=4", "there seed = 0, here seed = 4"),
        ("run.precision=bf16", 'there precision = "fp32", here precision = "bf16"'),
    ):
        with pytest.raises(TrainingError) as error:
            train(
                from_folders(tmp_path / "data", "optim.iterations=1", option), tmp_path / "run", resume=True
            )
        assert there in str(error.value)
        assert f"--start-from {tmp_path / 'run' / 'last.safetensors'}" in str(error.value)
    assert (tmp_path / "run" / STATE).read_bytes() == state


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    config = from_folders(tmp_path / "data", "optim.iterations=1")
    train(config, tmp_path / "run")
    with pytest.raises(TrainingError, match="holds a run already; add --resume"):
        train(config, tmp_path / "run")


def test_devices_and_precisions_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fp16 on a CPU"):
        train(from_folders(tmp_path / "data", "run.precision=fp16"), tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:  # no machine of the tests has a GPU
        patch.setattr(loop, "join_processes", lambda _device: (0, 1, torch.device("cuda")))
        with pytest.raises(ConfigError, match=r"run\.clock is cpu on cuda, which does the work; wanted wall"):
            train(from_folders(tmp_path / "data", "run.clock=cpu"), tmp_path / "run")
    with pytest.raises(ConfigError, match="wanted auto, cpu, cuda"):
        train(from_folders(tmp_path / "data", "run.device=gpu"), tmp_path / "run")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="no GPU"):
            train(from_folders(tmp_path / "data", "run.device=cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_leaves_what_it_promises_and_no_path_in_a_checkpoint(tmp_path: Path) -> None:
    secret = "Kim-Minji-1990"
    config = from_folders(tmp_path / secret, "optim.iterations=2", "optim.ema=0.9", "run.seed=3")
    trainer = train(config, tmp_path / "run")
    found = sorted(str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file())
    best = ["best.reverse.safetensors", "best.safetensors"] if trainer.progress.best_iteration else []
    last = ["last.reverse.safetensors", "last.safetensors"]
    assert found == [*best, CONFIG, *last, LOG, STATE, "samples/0000002.png"]
    assert load_config(tmp_path / "run" / CONFIG) == config
    for path in (tmp_path / "run").glob("*.safetensors"):
        data = path.read_bytes()
        assert secret.encode() not in data
        assert str(tmp_path).encode() not in data
    provenance = load_checkpoint(tmp_path / "run" / "last.safetensors").provenance
    assert (provenance.iterations, provenance.seed) == (2, 3)
    assert provenance.trained_on == "folders trainA and trainB"
    assert "lambda_rec = 10.0" in provenance.config_toml
    # The averaged generator is what is kept, not the last weights.
    state = load_checkpoint(tmp_path / "run" / "last.safetensors").state
    assert trainer.ema is not None
    assert same(dict(state), dict(trainer.ema.state_dict()))
    assert not same(dict(state), dict(trainer.method.nets["forward"].state_dict()))


def test_every_length_of_header_can_be_read_back(tmp_path: Path) -> None:
    """One in 32 headers has a length whose first byte, 0x80, is also that of a pickle."""
    trainer = train(from_folders(tmp_path / "data", "optim.iterations=1"), tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run" / "last.safetensors")
    path, starts = tmp_path / "one.safetensors", set()
    for n in range(0, 256, 8):  # safetensors fills a header up to a multiple of 8
        provenance = dataclasses.replace(checkpoint.provenance, notes="-" * n)
        save_checkpoint(dataclasses.replace(checkpoint, provenance=provenance), path)
        starts.add(path.read_bytes()[0])
        assert same(dict(load_checkpoint(path).state), dict(trainer.generator.state_dict()))
    assert 0x80 in starts


def test_faces_keep_their_config_in_the_checkpoint(tmp_path: Path) -> None:
    config = tiny("optim.iterations=1", "data.first=5")
    train(config, tmp_path / "run")
    provenance = load_checkpoint(tmp_path / "run" / "last.safetensors").provenance
    assert provenance.trained_on == "synthetic faces of 32 px, 5 per domain, from index 5"
    assert provenance.config_toml == config_to_toml_text(config)


def test_a_time_limit_stops_the_run_with_its_state(tmp_path: Path) -> None:
    limit = ("optim.iterations=100000", "run.stop_after_minutes=0.002")
    trainer = train(from_folders(tmp_path / "data", *limit), tmp_path / "run")
    done = trainer.progress.iteration
    assert 1 <= done < 100000
    assert state_of(tmp_path / "run")["progress"]["iteration"] == done
    summary = trainer.summary()
    assert (summary.iteration, summary.of, summary.folder) == (done, 100000, str(tmp_path / "run"))
    assert Summary(**json.loads(summary.to_json())) == summary
    assert f"{done:,} of 100,000" in summary.text()


def test_on_the_processors_clock_waiting_is_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batches.batch

    def slow(batches: Batches, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(0.6)  # as if another program had the processor
        return batch(batches, iteration)

    monkeypatch.setattr(Batches, "batch", slow)
    spent = {
        clock: train(
            from_folders(tmp_path / "data", "optim.iterations=3", f"run.clock={clock}"), tmp_path / clock
        ).progress.seconds
        for clock in ("cpu", "wall")
    }
    assert spent["wall"] > 1.8 > spent["cpu"] > 0


def test_the_summary_says_how_often_the_watch_looked(tmp_path: Path) -> None:
    """A run of six iterations was looked at once, which is no proof of anything."""
    short = train(from_folders(tmp_path / "data", "optim.iterations=6"), tmp_path / "short")
    assert short.summary().text().splitlines()[0].endswith(" at the only look")
    often = from_folders(
        tmp_path / "data", "optim.iterations=6", "run.probe_every=2", "run.checkpoint_every=4"
    )
    with pytest.raises(InterruptedError):
        train(often, tmp_path / "often", stop_at=5)
    looked = train(often, tmp_path / "often", resume=True).summary()
    assert looked.looks == 3
    healthy = dataclasses.replace(looked, collapsed=False)
    assert "; no collapse at the last of 3 looks\n" in healthy.text()
    assert "; COLLAPSED at the last of 3 looks\n" in dataclasses.replace(looked, collapsed=True).text()
    never = dataclasses.replace(looked, looks=0)
    assert "never looked for a collapse" in never.text()


def test_losses_in_the_log_are_means_since_the_last_line(tmp_path: Path) -> None:
    options = ("optim.iterations=5", "run.probe_every=9")
    train(from_folders(tmp_path / "data", *options), tmp_path / "each")
    train(from_folders(tmp_path / "data", *options, "run.log_every=3"), tmp_path / "means")
    each = [line["losses"]["rec_x"] for line in log_of(tmp_path / "each") if "losses" in line]
    means = {line["iteration"]: line["losses"] for line in log_of(tmp_path / "means") if "losses" in line}
    assert list(means) == [3, 5]
    assert means[3]["rec_x"] == pytest.approx(sum(each[:3]) / 3, abs=2e-6)
    assert means[5]["rec_x"] == pytest.approx(sum(each[3:]) / 2, abs=2e-6)
