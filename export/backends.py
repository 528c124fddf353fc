"""What runs a graph for the gate: ONNX Runtime, node by node in FP16, OpenVINO in bf16."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import onnxruntime as ort

from getgan.errors import DeviceError, ExportError
from getgan.export.graph import INPUT, Array, OnnxModel
from getgan.export.steps import StepRunner


class Backend(Protocol):
    """Runs float32 (N, 3, H, W) and gives every output by name."""

    @property
    def about(self) -> str:
        """Library, version and how it runs."""
        ...

    def run(self, image: Array) -> dict[str, Array]:
        """The graph's outputs, float32."""
        ...


class OnnxRuntimeCpu:
    """The whole graph in one session, as it will be served."""

    def __init__(self, model: OnnxModel, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are raised
        self.outputs = model.outputs
        self.session = ort.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
        self.about = f"onnxruntime {ort.__version__}, {', '.join(self.session.get_providers())}"

    def run(self, image: Array) -> dict[str, Array]:
        """The graph's outputs for float32 (N, 3, H, W)."""
        try:
            found = self.session.run(list(self.outputs), {INPUT: image})
        except Exception as error:  # ONNX Runtime raises a class of its own for each status
            raise ExportError(f"ONNX Runtime cannot run the graph: {error!s:.200}") from error
        return {name: np.asarray(value) for name, value in zip(self.outputs, found, strict=True)}


class RoundedFp16:
    """The FP16 graph with every value rounded to the type that it states (steps.py says why)."""

    def __init__(self, model: OnnxModel, threads: int = 0) -> None:
        self.runner = StepRunner(model, threads)
        self.about = f"onnxruntime {ort.__version__}, CPUExecutionProvider, node by node, all values in FP16"

    def run(self, image: Array) -> dict[str, Array]:
        """The graph's outputs for float32 (N, 3, H, W)."""
        return self.runner.run(image)


class OpenVinoBf16:
    """The FP32 graph with INFERENCE_PRECISION_HINT=bf16; DeviceError where that cannot really run here."""

    def __init__(self, model: OnnxModel, threads: int = 0) -> None:
        try:
            import openvino
        except ImportError as error:
            raise DeviceError(
                "OpenVINO is not installed; bf16 needs it: pip install 'getgan[cpu]'"
            ) from error
        core = openvino.Core()
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise DeviceError(
                "this CPU has neither avx512_bf16 nor amx_bf16; export where it has, or use fp32"
            )
        settings: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "bf16"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        self.outputs = model.outputs
        self.compiled = core.compile_model(core.read_model(model.data, b""), "CPU", settings)
        if not self._runs_bf16():
            raise DeviceError("OpenVINO was asked for bf16 and compiled no operation in it; use fp32")
        self.about = f"openvino {openvino.__version__.partition('-')[0]}, CPU, bf16"

    def run(self, image: Array) -> dict[str, Array]:
        """The graph's outputs for float32 (N, 3, H, W)."""
        found = self.compiled({INPUT: image})
        return {name: np.asarray(found[name], np.float32) for name in self.outputs}

    def _runs_bf16(self) -> bool:
        operations = self.compiled.get_runtime_model().get_ops()
        return any(_runtime_precision(operation.get_rt_info()) == "bf16" for operation in operations)


def _runtime_precision(info: object) -> str:
    try:
        return str(info["runtimePrecision"].astype(str))  # type: ignore[index]  # a C++ map of OpenVINO
    except (KeyError, RuntimeError):
        return ""
