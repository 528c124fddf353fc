"""examples/study/run.py: runs side by side, which stop together and go on where they were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from training_helpers import state_of

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "study" / "run.py"
# U-GAT-IT, whose global discriminator wants more pixels, is not among these.
SMALL = (
    *("--size", "32", "--seeds", "1", "--jobs", "2", "--scenes", "0"),
    *("--set", "data.count=4", "--set", "run.probe_images=2", "--set", "optim.pool=2"),
    *("--set", "model.ndf=2", "--set", "model.widths=[2,4,6]"),
)


def study(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder), *SMALL, *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def iterations(folder: Path, name: str) -> int:
    return int(state_of(folder / name)["progress"]["iteration"])


def test_runs_stop_together_and_go_on(tmp_path: Path) -> None:
    names = ("getgan-1", "cyclegan-1")
    process = study(tmp_path, "--variants", "getgan", "cyclegan", "nogate", "--minutes", "60")
    deadline = time.monotonic() + 120
    logs = [tmp_path / name / "log.jsonl" for name in names]
    while not all((tmp_path / name / "run.state.pt").exists() for name in names):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "getgan-1" in out and "cyclegan-1" in out and "nogate-1" not in out
    before = {name: iterations(tmp_path, name) for name in names}
    # Both have ended, or these would still hold their folders.
    again = study(tmp_path, "--variants", "getgan", "cyclegan", "--minutes", "0.02")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    for name, log in zip(names, logs, strict=True):
        assert iterations(tmp_path, name) > before[name]
        assert json.loads(log.read_text().splitlines()[-1])["iteration"] == iterations(tmp_path, name)
        assert f"{iterations(tmp_path, name):,} of 1,000,000" in (tmp_path / f"{name}.txt").read_text()


def test_a_run_that_fails_is_told_and_no_other_begins(tmp_path: Path) -> None:
    process = study(tmp_path, "--variants", "getgan", "cyclegan", "--jobs", "1", "--set", "optim.batch=0")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "getgan-1 failed" in err and "optim.batch is 0; wanted 1 or more" in err
    assert "cyclegan-1" not in out


def test_what_cannot_be_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    for wrong in (["--seeds", "x"], ["--variants", "stargan"], ["--jobs", "0"], ["--set", "optim.batch"]):
        process = study(tmp_path / "runs", *wrong)
        process.communicate(timeout=60)
        assert process.returncode == 2 and not (tmp_path / "runs").exists()
