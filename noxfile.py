"""Where the runtime runs: its tests from the built wheel, by Python and backends, without torch.

    make matrix                            # or: .venv/bin/nox
    nox -p 3.13                            # another Python
    nox -s "runtime-3.12(openvino)" -r     # one environment, kept from the last time

An interpreter that is missing is a failure. nox looks for python3.10 and python3.12 on PATH; for one that
lies elsewhere: PATH=/opt/python3.12/bin:$PATH make matrix.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent
CONSTRAINTS = ("-c", str(ROOT / "constraints.txt"))
# Those that need no torch, no onnx and no file of the repository.
TESTS = (
    "test_cli_run.py",
    "test_dicom.py",
    "test_doctor.py",
    "test_images.py",
    "test_metrics.py",
    "test_runtime_*.py",
    "test_sinks.py",
    "test_sources.py",
    "test_translate.py",
    "test_wheel.py",
)

nox.needs_version = ">=2026.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.error_on_external_run = True
nox.options.pythons = ["3.10", "3.12"]


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the sdist, and from it the wheel that all other sessions install."""
    session.install(*CONSTRAINTS, "build", "setuptools")
    shutil.rmtree(dist(session), ignore_errors=True)
    # Over the sdist, because setuptools puts what lies in build/ from last time into a wheel as well.
    session.run(
        "python", "-m", "build", "--no-isolation", "--outdir", str(dist(session)), str(ROOT), silent=True
    )


@nox.session(python=["3.10", "3.12", "3.13"], requires=["wheel"])
@nox.parametrize(
    "backends",
    [
        nox.param("openvino,onnxruntime", id="both"),
        nox.param("openvino", id="openvino"),
        nox.param("onnxruntime", id="onnxruntime"),
        nox.param("", id="none"),
    ],
)
def runtime(session: nox.Session, backends: str) -> None:
    """The runtime's tests where neither the repository, nor torch, nor onnx can be imported."""
    (built,) = dist(session).glob("*.whl")
    packages = [name for name in backends.split(",") if name]
    # Compiling all of it, to import a tenth of it once, takes longer than the rest: 26 s
    session.install("--no-compile", *CONSTRAINTS, f"{built}[dicom]", *packages, "pytest")
    place = Path(session.create_tmp()).resolve()
    shutil.rmtree(place / "tests", ignore_errors=True)
    shutil.copytree(ROOT / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", place)
    files = []
    for pattern in TESTS:
        found = sorted(str(path.relative_to(place)) for path in place.glob(f"tests/{pattern}"))
        if not found:
            session.error(f"found no tests/{pattern}; wanted the tests that TESTS names")
        files += found
    session.chdir(place)
    session.run(
        *("pytest", "-q", "-m", "not slow and not gpu", *files, *session.posargs),
        env={"GETGAN_TEST_BACKENDS": backends, "PYTHONPATH": None},
    )


def dist(session: nox.Session) -> Path:
    """Where the wheel lies."""
    return Path(session.cache_dir) / "dist"
