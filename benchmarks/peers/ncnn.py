"""ncnn on the CPU; pnnx turns the FP32 graph into its two files, for one size and one picture at a time."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from getgan.benchmarks.peers import Absent, Asked
from getgan.benchmarks.ways import Opened, Tensor
from getgan.errors import DeviceError
from getgan.runtime.devices import cpu_flags

CONVERT_S = 300


def open_peer(asked: Asked) -> Opened:
    """Absent where it cannot be converted; a batch runs picture by picture, as ncnn has none."""
    if asked.device != "cpu":
        raise Absent("ncnn's wheel was asked for the CPU only")
    if missing := [name for name in ("ncnn", "pnnx") if find_spec(name) is None]:
        raise Absent(f"{' and '.join(missing)} are not installed: pip install ncnn pnnx")
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = asked.threads
    param, weights = _converted(asked)
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise Absent("ncnn does not load what pnnx wrote")

    def one(picture: Tensor) -> Tensor:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(picture).clone())
            code, face = extractor.extract("out0")
            if code:
                raise DeviceError(f"ncnn fails with {code}")
            return np.array(face, np.float32)

    def run(tensor: Tensor) -> Tensor:
        return np.stack([one(picture) for picture in tensor])

    # Its defaults compute in FP16 where an ARM CPU can.
    halves = net.opt.use_fp16_arithmetic and "asimdhp" in (cpu_flags()[0] or ())
    return Opened(
        run, f"ncnn {ncnn.__version__}", "fp16" if halves else "fp32", provider="CPU", threads=asked.threads
    )


def _program() -> Path:
    """The one in the wheel; importing the package would load PyTorch."""
    spec = find_spec("pnnx")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).with_name("pnnx.exe" if os.name == "nt" else "pnnx")


def _converted(asked: Asked) -> tuple[Path, Path]:
    """The .param and .bin beside a copy of the graph: pnnx writes nine files beside what it reads."""
    folder = asked.folder / f"ncnn-{asked.size}"
    folder.mkdir(exist_ok=True)
    graph = folder / "net.onnx"
    graph.write_bytes(asked.graph.read_bytes())
    shape = f"inputshape=[1,3,{asked.size},{asked.size}]f32"
    try:
        finished = subprocess.run(
            [str(_program()), str(graph), shape, "fp16=0"],
            cwd=folder,
            capture_output=True,
            timeout=CONVERT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise Absent(f"pnnx took more than {CONVERT_S} s to convert the graph") from error
    param, weights = folder / "net.ncnn.param", folder / "net.ncnn.bin"
    if not param.exists() or not weights.exists():
        said = finished.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Absent(f"pnnx cannot convert the graph ({finished.returncode}: {' '.join(said)[:200]})")
    return param, weights
