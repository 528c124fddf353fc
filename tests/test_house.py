"""The house stands: every room in one package, light imports, links that survive packaging, import rules."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import getgan

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("benchmarks", "clinic", "commands", "export", "models", "runtime", "training")
LINKS = {f"src/getgan/{name}": f"../../{name}" for name in (*ROOMS, "cli.py", "docs")}


def run_python(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=cwd, capture_output=True, text=True, check=False)


def modules_after(code: str) -> set[str]:
    """Top-level names in sys.modules after a fresh interpreter ran `code`."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = run_python("-c", f"{code}\n{report}")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


# --- the package ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_installed_under_getgan(room: str) -> None:
    module = importlib.import_module(f"getgan.{room}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / room / "__init__.py"
    assert module.__doc__, f"{room}/__init__.py says in one sentence what the room is for"


def test_the_links_point_to_the_rooms_and_nothing_else_is_linked() -> None:
    found = {
        str(path.relative_to(ROOT)): path.readlink().as_posix()
        for path in (ROOT / "src" / "getgan").iterdir()
        if path.is_symlink()
    }
    assert found == LINKS


def test_git_keeps_the_links_as_links() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-s", "--", *LINKS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    modes = {line.split("\t")[1]: line.split()[0] for line in listed.splitlines()}
    assert modes == dict.fromkeys(LINKS, "120000")


# --- what an import costs ------------------------------------------------------------------------------


def test_importing_the_runtime_loads_neither_torch_nor_onnx() -> None:
    code = (
        "import importlib, pkgutil, getgan.runtime as room\n"
        "for module in pkgutil.walk_packages(room.__path__, 'getgan.runtime.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    assert not modules_after(code) & {"torch", "onnx", "onnxscript", "nncf", "safetensors"}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_the_command_line_answers_without_heavy_imports(flag: str) -> None:
    code = (
        "import sys; from getgan.cli import main; sys.argv = ['getgan', " + repr(flag) + "]\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
    )
    loaded = modules_after(code)
    assert "getgan" in loaded
    assert not loaded & {"torch", "cv2", "numpy", "onnx", "safetensors"}


def test_version_is_told() -> None:
    done = run_python("-m", "getgan", "--version")
    assert (done.returncode, done.stdout) == (0, f"getgan {getgan.__version__}\n")


def test_wrong_usage_is_exit_code_2_and_no_traceback() -> None:
    done = run_python("-m", "getgan", "no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_ours_becomes_one_line_and_exit_code_1() -> None:
    code = (
        "import sys; from getgan import cli; from getgan.errors import DataError\n"
        "@cli.app.command()\n"
        "def boom() -> None:\n    raise DataError('no images in faces/')\n"
        "sys.argv = ['getgan', 'boom']; cli.main()\n"
    )
    done = run_python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "getgan: no images in faces/\n")


# --- which room may import which -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ROOMS, "cli"])
def test_a_room_is_never_imported_by_its_folder_name(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "snippet.py").write_text(
        f'"""A snippet."""\n\nimport {name}\nfrom {name} import x\nfrom getgan.{name} import y\n'
        f"print({name}, x, y)\n"
    )
    done = run_python(
        "-m", "ruff", "check", "--select=TID", "--output-format=concise", "snippet.py", cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert [line.split(":")[1] for line in done.stdout.splitlines() if "TID251" in line] == ["3", "4"]


FORBIDDEN = [
    ("models", "import getgan.runtime"),
    ("models", "import getgan.training"),
    ("runtime", "import getgan.models"),
    ("runtime", "import torch"),
    ("runtime", "def f() -> None:\n    import onnx"),
    ("training", "import getgan.export"),
    ("export", "import getgan.training"),
    ("clinic", "import getgan.models"),
    ("clinic", "import getgan.benchmarks"),
    ("clinic", "import torch"),
    ("benchmarks", "import getgan.clinic"),
    ("runtime", "import getgan.cli"),
    ("benchmarks", "import getgan.commands"),
]


def lint_imports(house: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sysconfig.get_path("scripts")) / "lint-imports"
    environ = {**os.environ, "PYTHONPATH": str(house / "src")}
    return subprocess.run(
        [command, "--no-cache"], cwd=house, env=environ, capture_output=True, text=True, check=False
    )


@pytest.fixture
def empty_house(tmp_path: Path) -> Path:
    """The package with our import rules, its rooms empty."""
    package = tmp_path / "src" / "getgan"
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").touch()
    package.mkdir(parents=True)
    for name in ("__init__", "__main__", "contract", "errors", "files", "offline", "printing"):
        (package / f"{name}.py").touch()
    (tmp_path / "cli.py").touch()
    for link, target in LINKS.items():
        (tmp_path / link).symlink_to(target)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_an_empty_house_keeps_the_import_rules(empty_house: Path) -> None:
    done = lint_imports(empty_house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("room", "code"), FORBIDDEN)
def test_an_import_against_the_rules_is_found(empty_house: Path, room: str, code: str) -> None:
    (empty_house / room / "wrong.py").write_text(code + "\n")
    done = lint_imports(empty_house)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"getgan.{room}.wrong" in done.stdout


# --- what is handed to others --------------------------------------------------------------------------


def build(hook: str, source: Path, out: Path) -> Path:
    """Run one hook of the build backend in `source`; return the file it wrote."""
    out.mkdir()
    done = run_python(
        "-c", f"from setuptools import build_meta; print(build_meta.{hook}({str(out)!r}))", cwd=source
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.iterdir()
    return file


def package_files(names: list[str]) -> set[str]:
    """The names below the package folder `getgan/`, wherever that stands."""
    paths = (PurePosixPath(name) for name in names)
    return {
        str(PurePosixPath(*path.parts[path.parts.index("getgan") :]))
        for path in paths
        if "getgan" in path.parts and path.suffix in {".py", ".typed"}
    }


def test_wheel_and_sdist_hold_plain_files_under_one_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skip = shutil.ignore_patterns(".*", "build", "dist", "runs", "examples", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, symlinks=True, ignore=skip)
    expected = {f"getgan/{path.name}" for path in (ROOT / "src" / "getgan").glob("*.py")} | {
        "getgan/py.typed"
    }
    for room in ROOMS:
        expected |= {f"getgan/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / room).rglob("*.py")}

    with tarfile.open(build("build_sdist", source, tmp_path / "sdist")) as sdist:
        members = sdist.getmembers()
        assert not [member.name for member in members if member.issym() or member.islnk()]
        assert package_files([member.name for member in members]) == expected
        sdist.extraction_filter = getattr(tarfile, "data_filter", None)  # Debian 12's Python 3.11.2 has none
        sdist.extractall(tmp_path / "unpacked")

    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for name, folder in (("from_git", source), ("from_sdist", unpacked)):
        with zipfile.ZipFile(build("build_wheel", folder, tmp_path / name)) as wheel:
            names = wheel.namelist()
            code = [n for n in names if n.endswith((".py", ".typed"))]
            assert {n.partition("/")[0] for n in code} == {"getgan"}
            assert set(code) == expected
            assert any(n.endswith("licenses/LICENSE") for n in names)
            assert "getgan/docs/running.md" in names  # `getgan help running` prints it
            for n in code:
                if n.endswith(".py"):
                    ast.parse(wheel.read(n), filename=n)  # a link kept as text would be a path, not Python
