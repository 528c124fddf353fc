"""Every name of TensorRT and CUDA that our code uses exists in every version that it is to run with.

The names come from our source (trt_uses.py), the versions from the real bindings (trt_dump.py): as lists that
are kept in tests/data, and, where the wheels can be fetched, from the wheels themselves over empty libraries.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trt_dump import SYMBOLS, Api, api_of, split
from trt_uses import Reader, Use, sources, together

import getgan

ROOT = Path(getgan.__file__).resolve().parent
ROOMS = ("runtime/engines/*.py", "runtime/backends/tensorrt.py", "benchmarks/gpu*.py")
DATA = Path(__file__).parent / "data" / "tensorrt_api"
VERSIONS = ("10.3", "10.13", "10.16", "11.4", "rtx-1.7")


def listed(version: str) -> Api:
    found: Api = json.loads((DATA / f"{version}.json").read_text(encoding="utf-8"))["api"]
    return found


LISTED = {version: listed(version) for version in VERSIONS}


@pytest.fixture(scope="module")
def reader() -> Reader:
    found = Reader(together(LISTED.values()))
    found.read(sources(ROOT, *ROOMS))
    return found


def uses_in(text: str) -> set[Use]:
    return Reader(together(LISTED.values())).read([("sample.py", text)])


@pytest.mark.parametrize("version", VERSIONS)
def test_what_our_code_uses_exists(reader: Reader, version: str) -> None:
    assert [fault for use in reader.uses if (fault := use.fault(LISTED[version]))] == []


def test_nothing_of_ours_was_overlooked(reader: Reader) -> None:
    """Building and running are both in what was read, and no name that is TensorRT's was left untraced."""
    found = {f"{use.owner}.{use.member}" for use in reader.uses}
    assert {"Builder.build_serialized_network", "IExecutionContext.execute_async_v3"} <= found
    assert reader.unresolved() == []


def test_no_name_that_11_removed_is_reachable(reader: Reader) -> None:
    old = {
        (owner, name)
        for version in ("10.3", "10.13", "10.16")
        for owner, all_ in LISTED[version].items()
        for name in all_
    }
    removed = {(owner, name) for owner, name in old if name not in LISTED["11.4"].get(owner, {})}
    assert {("BuilderFlag", "FP16"), ("Builder", "platform_has_fast_fp16")} <= removed
    assert {(use.owner, use.member) for use in reader.uses if use.guard is None} & removed == set()


SAMPLE = """
import importlib
MODULES = {}
class Library:
    def __init__(self):
        self.module = importlib.import_module(MODULES["x"])
    def build(self, fast):
        builder = self.module.Builder(self.logger)
        network = builder.create_network(0)
        self.configure(builder.create_builder_config(), network)
        if builder.platform_has_fast_fp16:
            return builder.build_serialized_network(network)
    def configure(self, settings, network):
        settings.set_flag(self.module.BuilderFlag.FP16)
        self._member("BuilderFlag", "INT8")
        settings.num_compute_capabilities = 1
    def guarded(self, runtime):
        if not hasattr(runtime, "get_engine_validity"):
            raise ValueError
        runtime.get_engine_validity(b"", 1, 2)
    def run(self):
        engine = self.module.Runtime(self.logger).deserialize_cuda_engine(b"")
        self.guarded(self.module.Runtime(self.logger))
        lane = Lane(engine.create_execution_context_without_device_memory())
        lane.context.execute_async_v3(stream_handle=1, twice=2)
class Lane:
    context: object
    def elsewhere(self):
        return self.context.execute_v2()
"""


def test_the_reader_follows_values_and_finds_what_is_missing() -> None:
    faults = {
        version: {
            re.sub(r".*py:\d+: (\S+) (.{10}).*", r"\1 \2", fault)
            for use in uses_in(SAMPLE)
            if (fault := use.fault(api))
        }
        for version, api in LISTED.items()
    }
    always = {
        "Builder.build_serialized_network is called ",
        "IExecutionContext.execute_async_v3 is called ",
        "IExecutionContext.execute_v2 is called ",
    }
    rtx = "IBuilderConfig.num_compute_capabilities does not e"
    old = {
        "BuilderFlag.FP16 does not e",
        "BuilderFlag.INT8 does not e",
        "Builder.platform_has_fast_fp16 does not e",
        "ICudaEngine.create_execution_context_without_device_memory does not e",
    }
    assert faults["10.3"] == faults["10.16"] == {*always, rtx}
    assert faults["11.4"] == {*always, rtx, *old}
    # Guarded by what only RTX has; there the call is looked at.
    assert faults["rtx-1.7"] == {*always, *old, "Runtime.get_engine_validity is called "}


def test_the_list_of_rtx_is_that_of_the_real_one() -> None:
    real = pytest.importorskip("tensorrt_rtx")
    if not real.__version__.startswith("1.7."):
        pytest.skip(f"the list is of 1.7, here is {real.__version__}")
    assert {owner: dict(found) for owner, found in api_of(real).items()} == LISTED["rtx-1.7"]


@dataclass(frozen=True)
class Wheel:
    """Of one version, with what its list is called."""

    package: str
    listed: str
    major: int


WHEELS = (
    Wheel("tensorrt-cu12-bindings==10.3.0", "10.3", 10),
    Wheel("tensorrt-cu12-bindings==10.13.3.9", "10.13", 10),
    Wheel("tensorrt-cu13-bindings==10.16.1.11", "10.16", 10),
    Wheel("tensorrt-cu13-bindings==11.4.0.106", "11.4", 11),
)

# Over the real bindings: the library is taken for what it is, and a machine without a GPU is said to be one.
OURS = """
import sys
import tensorrt_bindings
sys.modules["tensorrt"] = tensorrt_bindings
from getgan.errors import DeviceError
from getgan.runtime.engines import adapter
from getgan.runtime.engines.progress import Phases
library = adapter.TensorRt("tensorrt")
library.logger().log(tensorrt_bindings.ILogger.Severity.ERROR, "as expected")
try:
    library.runtime()
except DeviceError as error:
    print(library.title, "|", error)
adapter._monitor_class(tensorrt_bindings)(None)
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Libraries that have the names of TensorRT's and no more, in a folder for each major version."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("empty")
    text = folder / "empty.c"
    text.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for major in {wheel.major for wheel in WHEELS}:
        (folder / str(major)).mkdir()
        for name in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
            file = f"lib{name}.so.{major}"
            target = ["-o", str(folder / str(major) / file), f"-Wl,-soname,{file}"]
            subprocess.run([compiler, "-shared", "-fPIC", *target, str(text)], check=True)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the empty libraries are Linux's")
@pytest.mark.parametrize("wheel", WHEELS, ids=lambda wheel: wheel.listed)
def test_the_real_bindings_are_as_listed(wheel: Wheel, empty: Path, tmp_path: Path, reader: Reader) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--target"]
    done = subprocess.run([*pip, str(tmp_path), wheel.package], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{wheel.package} cannot be had here: {done.stderr.strip().splitlines()[-1:]}")
    there = {**os.environ, "LD_LIBRARY_PATH": str(empty / str(wheel.major))}
    there["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(Path(getgan.__file__).parents[1])])
    dump = [sys.executable, str(Path(__file__).with_name("trt_dump.py")), "tensorrt_bindings"]
    real = json.loads(subprocess.run(dump, env=there, capture_output=True, check=True).stdout)["api"]
    assert [fault for use in reader.uses if (fault := use.fault(real))] == []
    assert real == LISTED[wheel.listed]
    ours = subprocess.run(
        [sys.executable, "-c", OURS], env=there, capture_output=True, text=True, check=False
    )
    version = wheel.package.partition("==")[2]
    assert ours.stdout.startswith(f"TensorRT {version} | TensorRT {version} finds no NVIDIA GPU"), ours.stderr
    assert "as expected" in ours.stdout


def test_the_calls_of_cuda_exist_and_take_what_they_are_given() -> None:
    """By the signatures in cuda-bindings' own documentation."""
    real = pytest.importorskip("cuda.bindings.runtime")
    tree = ast.parse((ROOT / "runtime/engines/cuda.py").read_text(encoding="utf-8"))
    names = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("cuda")
    }
    assert "cudaGraphLaunch" in names and len(names) > 30
    enums = {name for name in names if not hasattr(real, name)}
    for name in enums:  # members of one of the enumerations that are named beside it
        assert any(hasattr(getattr(real, owner), name) for owner in names - enums), name
    wrong = [
        f"{ast.unparse(node)}: {getattr(real, called).__doc__.splitlines()[0]}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for called, given in [_cuda_call(node)]
        if called and called not in enums and given != len(_parameters(real, called))
    ]
    assert wrong == []


def _cuda_call(node: ast.Call) -> tuple[str, int]:
    """`self._call(runtime.NAME, ...)`, `owned.callback(runtime.NAME, ...)` or the call itself."""
    if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("cuda"):
        return node.func.attr, len(node.args)
    first = node.args[0] if node.args else None
    if isinstance(first, ast.Attribute) and first.attr.startswith("cuda"):
        return first.attr, len(node.args) - 1
    return "", 0


def _parameters(real: Any, name: str) -> list[str]:
    line = getattr(real, name).__doc__.splitlines()[0]
    return split(line[line.index("(") + 1 : line.rindex(")")])
