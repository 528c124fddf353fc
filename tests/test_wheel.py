"""The installed wheel by itself: whole, without torch and onnx, clear about what is missing. nox runs it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest
from backend_helpers import INSTALLED
from bundle_helpers import make_bundle, sample
from cli_helpers import getgan, one_line

import getgan as package
from getgan.runtime.images import read_image, write_image

pytestmark = pytest.mark.wheel

ROOMS = {"benchmarks", "clinic", "commands", "export", "models", "runtime", "training"}
SITE = Path(sysconfig.get_path("purelib")).resolve()


def test_what_is_tested_is_the_installed_wheel_and_nothing_beside_it() -> None:
    assert Path(package.__file__).resolve().parent == SITE / "getgan"
    heavy = ("torch", "onnx", "onnxscript", "safetensors", "nncf")
    assert [name for name in (*heavy, *ROOMS, "cli") if find_spec(name)] == []
    shown = "import getgan.runtime.session as module; print(module.__file__)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).resolve() == SITE / "getgan" / "runtime" / "session.py"


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    paths = [path for path in importlib.metadata.files("getgan") or () if path.parts[0] != ".."]
    assert {path.parts[0] for path in paths} == {"getgan", f"getgan-{package.__version__}.dist-info"}
    inside = {path.relative_to("getgan").as_posix() for path in paths if path.parts[0] == "getgan"}
    modules = {name for name in inside if name.endswith(".py")}
    assert {name.partition("/")[0] for name in modules if "/" in name} == ROOMS
    assert {f"{room}/__init__.py" for room in ROOMS} | {"__main__.py", "cli.py"} <= modules
    pictures = {name for name in inside if name.startswith("export/goldens/") and name.endswith(".png")}
    assert len(pictures) >= 6
    pages = {name for name in inside if name.startswith("docs/")}
    assert "docs/running.md" in pages
    probes = {f"runtime/doctor/probe-{precision}.onnx" for precision in ("fp16", "fp32")}
    cards = {name for name in inside if name.startswith("runtime/media/cards/") and name.endswith(".png")}
    assert len(cards) >= 8
    assert inside - modules == pictures | pages | probes | cards | {"py.typed"}
    assert not [name for name in inside if (SITE / "getgan" / name).is_symlink()]


def test_the_command_is_installed() -> None:
    command = Path(sysconfig.get_path("scripts")) / "getgan"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"getgan {package.__version__}\n"


def test_the_page_that_help_names_is_there() -> None:
    assert "getgan help running" in " ".join(getgan("run", "--help").stdout.split())
    assert getgan("help", "running").stdout == (SITE / "getgan" / "docs" / "running.md").read_text("utf-8")
    assert "running" in getgan("help").stdout.splitlines()
    assert getgan("help", "gone").returncode == 2


def test_training_and_export_say_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"PK\x03\x04")
    for arguments, extra in (
        (["export", "net.pt", "-o", "bundle"], "getgan[export]"),
        (["verify", "bundle", "net.pt"], "getgan[export]"),
        (["demo"], "getgan[export,train]"),  # the tests' environment has the third, dicom
    ):
        done = getgan(*arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert f"which are not installed: pip install '{extra}'" in one_line(done)


def test_run_and_doctor_with_what_is_installed_and_without(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    write_image(tmp_path / "scan.png", sample(240))
    done = getgan("run", bundle, tmp_path / "scan.png", "-o", tmp_path / "face.png")
    diagnosed = getgan("doctor", bundle, "--json")
    checks = {check["name"]: check for check in json.loads(diagnosed.stdout)["checks"]}
    if INSTALLED:
        assert done.returncode == 0, done.stderr
        assert INSTALLED[0] in done.stderr  # the faster one comes first
        assert read_image(tmp_path / "face.png").shape == (240, 240, 3)
        assert checks["backends"]["status"] == "ok"
        assert checks[f"bundle on {INSTALLED[0]} cpu fp32"]["status"] == "ok"
    else:
        assert done.returncode == 1
        line = one_line(done)
        assert "nothing runs it here" in line
        assert "openvino is not installed: pip install openvino" in line
        assert "onnxruntime is not installed: pip install onnxruntime" in line
        assert not (tmp_path / "face.png").exists()
        assert diagnosed.returncode == 1
        assert checks["backends"]["status"] == "fault"
        assert checks["backends"]["repair"] == "pip install openvino onnxruntime"
        assert not [name for name in checks if name.startswith("bundle on ")]
