"""Ctrl-C at any moment of a start ends the command with exit code 130: no other backend, no hang."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import make_bundle, sample

from getgan.runtime.images import write_image
from getgan.runtime.interrupts import STOPPING, interrupts_wait, signals_go_to


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        reached.append("end")
    assert reached == ["end"]
    with pytest.raises(KeyboardInterrupt):  # and afterwards everything is as before
        signal.raise_signal(signal.SIGINT)


def test_an_import_that_fails_in_between_does_not_hide_it() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_wait():
        signal.raise_signal(signal.SIGINT)
        raise ImportError
    with pytest.raises(ImportError), interrupts_wait():
        raise ImportError


def test_whoever_handles_it_gets_it_afterwards() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, stack: got.append(number))
    try:
        with interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            assert got == []
        assert got == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_every_signal_that_stops_is_taken_and_given_back_and_an_ignored_one_stays_so() -> None:
    got: list[int] = []
    before = {number: signal.getsignal(number) for number in STOPPING}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with pytest.raises(ImportError), signals_go_to(lambda number, stack: got.append(number)):
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            raise ImportError
        assert got == [signal.SIGTERM, signal.SIGINT]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
        assert {number: signal.getsignal(number) for number in STOPPING} == before
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


def test_another_thread_does_as_if_it_were_not_there() -> None:
    def work() -> None:
        with interrupts_wait(), signals_go_to(signal.default_int_handler):
            done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [True]


# --- a real start ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    make_bundle(folder / "bundle")
    (folder / "scans").mkdir()
    for number in range(400):
        write_image(folder / "scans" / f"{number}.png", sample(240, number % 5))
    return folder


def interrupted_at(job: Path, moment: str | int) -> tuple[int, str, str]:
    """Start a run, send SIGINT at an import that is named or counted: exit code, last line, that import."""
    command = [sys.executable, "-X", "importtime", "-m", "getgan", "run", "bundle", "scans", "-o"]
    with subprocess.Popen(
        [*command, f"out-{moment}"], cwd=job, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        count, line = -1, ""
        for line in process.stderr:  # each import's line comes when it has ended
            name = line.rpartition("|")[2].strip()
            # What Python imports before it runs us is Python's.
            count += count >= 0 or name == "getgan"
            if count >= 0 and (count >= moment if isinstance(moment, int) else name.startswith(moment)):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
        code = process.wait(timeout=120)
    told = [text for text in rest if not text.startswith("import time:")]
    return code, (told or [""])[-1], line.strip()


@needs_backend
@pytest.mark.parametrize("moment", ["typer", "numpy", "cv2", "getgan.runtime.session", INSTALLED[:1]])
def test_ctrl_c_while_the_libraries_are_being_imported(moment: str | tuple[str, ...], job: Path) -> None:
    name = moment if isinstance(moment, str) else moment[0]
    code, last, at = interrupted_at(job, name)
    assert (code, last) == (130, "getgan: stopped"), at


@pytest.fixture(scope="module")
def imports(job: Path) -> int:
    """How many a whole run makes."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "getgan",
        "run",
        "bundle",
        "scans/0.png",
        "-o",
        "f.png",
    ]
    done = subprocess.run(command, cwd=job, capture_output=True, text=True, check=True)
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line]
    return len(names) - names.index("getgan")


@needs_backend
@pytest.mark.slow
@pytest.mark.parametrize("percent", range(2, 100, 4))
def test_ctrl_c_at_any_import(percent: int, imports: int, job: Path) -> None:
    code, last, at = interrupted_at(job, imports * percent // 100)
    assert (code, last) == (130, "getgan: stopped"), at
