"""What a backend costs: its file and its entry, put into a copy of the package and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import example_backend
import pytest
from bundle_helpers import make_bundle, network, replace_file

import getgan
from getgan.runtime.backends import Unsuitable
from getgan.runtime.devices import machine

IMPORT = "from getgan.runtime.backends.openvino import OpenVino\n"
OUTPUTS = ("face", "occlusion")


def _unsuitable() -> str:
    backend = example_backend.OpenCv()
    try:
        backend.check(backend.candidates("cpu")[0], machine())
    except Unsuitable as reason:
        return str(reason)
    return ""


pytestmark = pytest.mark.skipif(bool(_unsuitable()), reason=_unsuitable())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and the new backend in it."""
    folder = tmp_path_factory.mktemp("new")
    copy = folder / "getgan"
    shutil.copytree(Path(getgan.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "docs"))
    backends = copy / "runtime" / "backends"
    shutil.copy(example_backend.__file__, backends / "opencv.py")
    catalog = (backends / "catalog.py").read_text(encoding="utf-8")
    assert catalog.count(IMPORT) == catalog.count("OnnxRuntime())") == 1
    catalog = catalog.replace(IMPORT, f"from getgan.runtime.backends.opencv import OpenCv\n{IMPORT}")
    catalog = catalog.replace("OnnxRuntime())", "OnnxRuntime(), OpenCv())")
    (backends / "catalog.py").write_text(catalog, encoding="utf-8")
    return folder


def there(place: Path, cache: Path, code: str, *arguments: str | Path) -> Any:
    """What code prints as JSON in a process that has the copy."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(place), "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SESSION = """
import json, sys, threading
from pathlib import Path
import numpy as np
from getgan.errors import DeviceError
from getgan.runtime.bundle import Bundle
from getgan.runtime.session import open_session

random = np.random.default_rng(0)
images = [random.uniform(-1, 1, (1, 3, 32 + 16 * (n % 3), 48)).astype(np.float32) for n in range(6)]
found = [[] for _ in images]
with open_session(Bundle.open(Path(sys.argv[1])), backend="opencv", threads=2) as session:
    alone = [session.run(image) for image in images]
    def work(n):
        found[n] += [session.run(images[n]) for _ in range(10)]
    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(images))]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    info = session.info
wrong = [
    n for n, results in enumerate(found) for result in results
    if any(not np.array_equal(result[name], alone[n][name]) for name in alone[n])
]
try:
    open_session(Bundle.open(Path(sys.argv[2])), backend="opencv")
    refused = ""
except DeviceError as error:
    refused = str(error)
print(json.dumps({
    "backend": info.backend, "threads": info.threads, "psnr": info.self_test.psnr, "wrong": wrong,
    "results": sum(map(len, found)), "refused": refused,
}))
"""


def test_a_session_runs_it_first_elsewhere_and_lets_only_golden_pictures_pass(
    place: Path, tmp_path: Path
) -> None:
    """Opened, tested and called from many threads as any other; another network is refused."""
    bundle = make_bundle(tmp_path / "bundle", graph=network(outputs=OUTPUTS), outputs=OUTPUTS)
    other = make_bundle(tmp_path / "other", graph=network(outputs=OUTPUTS), outputs=OUTPUTS)
    replace_file(other, "graphs/fp32.onnx", network(seed=5, outputs=OUTPUTS))
    found = there(place, tmp_path / "cache", SESSION, bundle, other)
    assert (found["backend"], found["threads"], found["results"], found["wrong"]) == ("opencv", 2, 60, [])
    assert found["psnr"] > 67
    assert "comes out differently" in found["refused"]
    records = [path.read_text() for path in (tmp_path / "cache" / "getgan" / "known").iterdir()]
    assert len(records) == 2 and all(text.startswith("opencv cpu fp32 ran graph ") for text in records)


DOCTOR = """
import json, sys
from pathlib import Path
from getgan.runtime.backends.catalog import candidates
from getgan.runtime.doctor.backends import bundle_checks
from getgan.runtime.doctor.probe import probe

ways = candidates(["cuda:0", "cpu"])
(new,) = [way for way in ways if way.backend == "opencv"]
probed = probe(new)
checks = list(bundle_checks(Path(sys.argv[1]), [new], 2))
print(json.dumps({
    "last": ways[-1] == new, "ok": probed.ok, "found": probed.found,
    "checks": [[check.name, check.status] for check in checks],
}))
"""


def test_the_doctor_probes_it_and_runs_the_bundle_on_it(place: Path, tmp_path: Path) -> None:
    found = there(place, tmp_path / "cache", DOCTOR, make_bundle(tmp_path / "bundle"))
    assert found["last"]
    assert found["ok"], found["found"]
    # This bundle has no guard, which the doctor warns of.
    assert found["checks"] == [["bundle", "ok"], ["guard", "warn"], ["bundle on opencv cpu fp32", "ok"]]


def test_the_command_line_knows_its_name(place: Path, tmp_path: Path) -> None:
    code = """
import runpy, sys
sys.argv[0] = "getgan"
runpy.run_module("getgan", run_name="__main__")
"""
    bundle = make_bundle(tmp_path / "bundle")
    picture = next((bundle / "golden").glob("*.input.png"))
    arguments = ("run", bundle, picture, "-o", tmp_path / "out", "--backend", "opencv", "--json")
    found = there(place, tmp_path / "cache", code, *arguments)
    assert found["session"]["backend"] == "opencv"
    assert (tmp_path / "out").is_dir()
