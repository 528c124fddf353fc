"""A graph that never ran on this machine is first run elsewhere: harm costs seconds and one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend
from bundle_helpers import make_bundle, network, replace_file
from onnx_helpers import PICTURE, STRING, GraphWriter, endless, huge

from getgan.errors import BundleError, DeviceError
from getgan.runtime import firstrun
from getgan.runtime.backends import Candidate
from getgan.runtime.bundle import Bundle
from getgan.runtime.child import Ended, run_child
from getgan.runtime.doctor.files import cache_check
from getgan.runtime.session import open_session

pytestmark = needs_backend


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing ran yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


def known(home: Path) -> list[Path]:
    return sorted((home / "getgan" / "known").glob("*"))


# --- graphs that do harm --------------------------------------------------------------------------------


def without_rank() -> bytes:
    graph = GraphWriter()
    graph.add("ReduceMean", ["image"], "face", keepdims=0)
    return graph.model({"image": PICTURE}, {"face": ()})


def without_pictures() -> bytes:
    graph = GraphWriter()
    graph.constant("none", np.array([0], np.int64))
    graph.add("Slice", ["image", "none", "none", "none"], "face")
    return graph.model({"image": PICTURE}, {"face": (0, 3, "h", "w")})


def texts() -> bytes:
    graph = GraphWriter()
    graph.add("Cast", ["image"], "face", to=STRING)
    return graph.model({"image": PICTURE}, {"face": PICTURE}, kind=STRING)


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        (endless, BundleError, "computed for 3 s when it ran for the first time"),
        (huge, BundleError, r"took more than \d+ MB of memory"),
        (without_rank, DeviceError, r"the network gave face \(\), wanted \(1, 3, 32, 32\)"),
        (without_pictures, DeviceError, r"the network gave face \(0, 3, 32, 32\)"),
        (texts, DeviceError, r"wanted a tensor\(float\)|wanted f32|cannot load the graph"),
    ],
)
@pytest.mark.parametrize("backend", INSTALLED)
def test_a_graph_that_does_harm_is_one_line(
    graph: Callable[[], bytes],
    error: type[Exception],
    message: str,
    backend: str,
    folder: Path,
    cache_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(firstrun, "BUSY_S", {"cpu": 3})
    replace_file(folder, "graphs/fp32.onnx", graph())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises((BundleError, DeviceError), match=message) as caught:
        open_session(Bundle.open(folder), backend=backend, precision="fp32")
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000  # kB: none of it is ours
    assert known(cache_home) == []


def test_an_engine_may_take_as_long_as_its_gate() -> None:
    """It compiles its kernels as often as it is opened: what passed must not be refused for that."""
    from getgan.runtime.engines import gate

    kind = firstrun.kind_of(Candidate("tensorrt", "cuda:0", "fp16"))
    assert min(firstrun.BUSY_S[kind], firstrun.END_S[kind]) >= gate.END_S
    assert firstrun.kind_of(Candidate("onnxruntime", "cuda:0", "fp16")) == "cuda"


# --- graphs that are known ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_known_graph_needs_no_second_process(
    backend: str, folder: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> None:
        open_session(Bundle.open(folder), backend=backend, precision="fp32").close()

    opened()
    (record,) = known(cache_home)
    assert record.read_text().startswith(f"{backend} cpu fp32 ran graph ")
    monkeypatch.setattr(sys, "executable", str(folder / "gone"))
    opened()
    replace_file(folder, "graphs/fp32.onnx", network(seed=5))
    with pytest.raises(DeviceError, match="its process cannot be started"):
        opened()
    assert known(cache_home) == [record]


def test_a_graph_that_ran_and_gives_other_pictures_stays_refused(folder: Path, cache_home: Path) -> None:
    replace_file(folder, "graphs/fp32.onnx", network(seed=5))
    for _ in range(2):
        with pytest.raises(DeviceError, match="comes out differently"):
            open_session(Bundle.open(folder), backend=INSTALLED[0], precision="fp32")
    assert len(known(cache_home)) == 1


def test_a_cache_that_cannot_be_written_costs_time_only(
    folder: Path, cache_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_home.write_text("a file where the folder should be")
    for _ in range(2):
        open_session(Bundle.open(folder), backend=INSTALLED[0], precision="fp32").close()
    found = cache_check()
    assert found.status == "warn" and "every start first tries its graph" in found.found
    monkeypatch.setattr(sys, "executable", str(folder / "gone"))
    with pytest.raises(DeviceError, match="its process cannot be started"):
        open_session(Bundle.open(folder), backend=INSTALLED[0], precision="fp32")


def test_a_bundle_that_was_changed_meanwhile_is_not_run(folder: Path) -> None:
    bundle = Bundle.open(folder)
    replace_file(folder, "graphs/fp32.onnx", network(seed=5))
    with pytest.raises((DeviceError, BundleError), match=r"changed since it|damaged or was altered"):
        open_session(bundle, backend=INSTALLED[0], precision="fp32")


# --- the child ------------------------------------------------------------------------------------------


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    (tmp_path / "sleeper.py").write_text(
        f"import os, time\nopen({str(place)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    program = "from getgan.runtime.child import run_child; run_child('sleeper', seconds=50.0)"
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    parent = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": paths})
    deadline = time.monotonic() + 30.0
    while not (place.exists() and place.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    child = int(place.read_text())
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()


def test_a_child_leaves_nothing_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "pid"
    (tmp_path / "sleeper.py").write_text(
        f"import os, time\nopen({str(place)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    ended = run_child("sleeper", seconds=3.0)
    assert ended.over_limit and ended.how == "did not end within 3 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


def test_a_first_run_imports_no_more_than_it_needs() -> None:
    """A patient waits for each of its imports."""
    unneeded = "{'cv2', 'typer', 'email', 'importlib.metadata'}"
    code = f"import sys, getgan.runtime.firstrun; print(sorted({unneeded} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_no_module_of_the_current_folder_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pictures came from, a numpy.py may have come along."""
    (tmp_path / "numpy.py").write_text("raise SystemExit('taken from the current folder')\n")
    monkeypatch.chdir(tmp_path)
    ended = run_child("getgan.runtime.doctor.probe", INSTALLED[0], "cpu", "fp32", seconds=60.0)
    assert (ended.how, b'"ok":true' in ended.last) == ("", True)


def test_what_a_library_prints_behind_the_answer_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talker.py").write_text(
        "import os\nprint('answer', flush=True)\nos.write(1, b'goodbye\\n')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', '')}{os.pathsep}{tmp_path}")
    assert run_child("talker", seconds=30.0) == Ended(b"answer")
