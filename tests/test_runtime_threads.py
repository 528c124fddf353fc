"""Callers in many threads each get their own pictures, whatever the others do to the session meanwhile."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import make_bundle, network
from numpy.typing import NDArray

from getgan.errors import DeviceError
from getgan.runtime.bundle import Bundle
from getgan.runtime.session import open_session

pytestmark = needs_backend
OUTPUTS = ("face", "occlusion")
THREADS = 8
CALLS = 25
Images = NDArray[np.float32]
Found = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("threads") / "bundle"
    return Bundle.open(make_bundle(folder, graph=network(outputs=OUTPUTS), outputs=OUTPUTS))


def inputs() -> list[Images]:
    """Different pictures of three sizes, so that a result of another caller has another shape or values."""
    generator = np.random.default_rng(0)
    return [
        generator.uniform(-1, 1, (1, 3, 32 + 16 * (n % 3), 48)).astype(np.float32) for n in range(THREADS)
    ]


def in_threads(work: Callable[[int], None]) -> None:
    """Run work(0..THREADS - 1), each in its own thread, from one start; the first error is raised here."""
    start = threading.Barrier(THREADS)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def equal(found: Found, expected: Found) -> bool:
    return all(np.array_equal(found[name], expected[name]) for name in OUTPUTS)


@pytest.mark.parametrize("backend", INSTALLED)
def test_every_caller_gets_its_own_result(backend: str, bundle: Bundle) -> None:
    with open_session(bundle, backend=backend, precision="fp32", threads=2) as session:
        images = inputs()
        alone = [session.run(image) for image in images]
        kept: list[list[Found]] = [[] for _ in images]

        def work(number: int) -> None:
            kept[number] += [session.run(images[number]) for _ in range(CALLS)]

        in_threads(work)
    # Compared at the end: a result that shares memory with a later one has changed by now.
    wrong = sum(not equal(found, alone[n]) for n, results in enumerate(kept) for found in results)
    assert [len(results) for results in kept] == [CALLS] * THREADS
    assert wrong == 0


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_session_that_is_closed_meanwhile_finishes_what_runs(backend: str, bundle: Bundle) -> None:
    images = inputs()
    with open_session(bundle, backend=backend, precision="fp32", threads=2) as session:
        alone = [session.run(image) for image in images]
    session = open_session(bundle, backend=backend, precision="fp32", threads=2)
    ended: list[str] = []

    def work(number: int) -> None:
        for call in itertools.count():
            if number == 0 and call == CALLS // 5:
                session.close()
            try:
                assert equal(session.run(images[number]), alone[number])
            except DeviceError as error:
                ended.append(str(error))
                return

    in_threads(work)
    assert len(ended) == THREADS
    assert all("the session is closed" in message for message in ended)


@pytest.mark.parametrize("backend", INSTALLED)
def test_an_engine_that_is_closed_meanwhile_says_so(backend: str, bundle: Bundle) -> None:
    """Also without a session around it, as the gate and the doctor use engines."""
    session: Any = open_session(bundle, backend=backend, precision="fp32", threads=2)
    engine = session._slot._engine
    image = inputs()[0]
    alone = engine.infer(image)

    def work(number: int) -> None:
        if number == 0:
            engine.close()
            engine.close()
            return
        for _ in range(CALLS):
            try:
                assert equal(engine.infer(image), alone)
            except DeviceError as error:
                assert "closed" in str(error)

    in_threads(work)
    with pytest.raises(DeviceError, match="closed"):
        engine.infer(image)


SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
from getgan.runtime.bundle import Bundle
from getgan.runtime.session import open_session

seen = []
signal.signal(signal.SIGTERM, lambda number, stack: seen.append(number))
session = open_session(Bundle.open(Path(sys.argv[1])), backend=sys.argv[2], precision="fp32", threads=1)
closer = threading.Thread(target=session.close)
closer.start()
closer.join()
os.kill(os.getpid(), signal.SIGTERM)
print(seen == [signal.SIGTERM])
"""


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_signal_after_a_session_was_closed_in_another_thread_is_seen(backend: str, bundle: Bundle) -> None:
    command = [sys.executable, "-c", SIGNALLED, str(bundle.path), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
