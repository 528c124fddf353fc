"""What a bundle of an ONNX graph is judged against: the file as it came, in ONNX Runtime, FP32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort

from getgan.contract import Contract
from getgan.errors import ConfigError, ExportError
from getgan.export.graph import Array
from getgan.export.onnxfile import OnnxFile
from getgan.export.onnxports import Ports
from getgan.printing import one_line
from getgan.runtime.pixels import check_tensor

CPU = ["CPUExecutionProvider"]


class OriginalGraph:
    """The file's own graph, with its own names and axes; `watched` values are answered too."""

    def __init__(self, file: OnnxFile, ports: Ports, threads: int = 0, watched: Sequence[str] = ()) -> None:
        self.ports, self.watched = ports, tuple(watched)
        proto = onnx.ModelProto()
        proto.CopyFrom(file.proto)
        known = {value.name for value in proto.graph.output}
        proto.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self.watched if name not in known
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are raised
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = ort.InferenceSession(proto.SerializeToString(), options, providers=CPU)
        except Exception as error:  # ONNX Runtime raises a class of its own for each status
            raise ExportError(
                f"ONNX Runtime {ort.__version__} cannot load the graph ({_first(error)}); wanted one that "
                "runs "
                "on a CPU in FP32"
            ) from error

    def run(self, images: Array) -> tuple[Array, dict[str, Array]]:
        """float32 (N, 3, H, W) -> the same, and the watched values; ExportError where it cannot be run."""
        answers = [
            self._run(each) for each in (np.split(images, len(images)) if self.ports.one else [images])
        ]
        faces = np.concatenate([face for face, _ in answers])
        return faces, answers[0][1]

    def _run(self, images: Array) -> tuple[Array, dict[str, Array]]:
        ports = self.ports
        fed = np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if ports.rows_in else images
        try:
            face, *others = self._session.run([ports.output.name, *self.watched], {ports.input.name: fed})
        except Exception as error:  # ONNX Runtime raises a class of its own for each status
            raise ExportError(f"cannot be run by ONNX Runtime ({_first(error)})") from error
        face = np.asarray(face)
        if ports.rows_out and face.ndim == 4:
            face = np.ascontiguousarray(face.transpose(0, 3, 1, 2))
        return face, dict(zip(self.watched, others, strict=True))


class OnnxReference:
    """The graph of a file, as a Reference."""

    about = "ONNX Runtime"
    # ONNX Runtime has convolutions in FP32 alone. A sum of n numbers rounds by about sqrt(n) / 2 steps there;
    # CycleGAN's first convolution sums 147, and rounding of the input by one step averages out in it.
    exactly = "FP32"
    step = 2.0**-20

    def __init__(
        self, file: OnnxFile, ports: Ports, contract: Contract, *, clip: bool, threads: int = 0
    ) -> None:
        self._graph = OriginalGraph(file, ports, threads)
        self._contract, self._clip = contract, clip

    def infer(self, images: Array) -> dict[str, Array]:
        """See Reference."""
        check_tensor(images, self._contract)
        face, _ = self._graph.run(images)
        if face.shape != images.shape:
            raise ConfigError(f"the graph answers {images.shape} with {face.shape}; wanted the same")
        return {"face": np.clip(face, *self._contract.range) if self._clip else face}

    def infer_exactly(self, images: Array) -> dict[str, Array]:
        """The same: whether rounding decides a picture is told by what moves when the input does."""
        return self.infer(images)


def _first(error: Exception) -> str:
    """Of a message that may quote the graph."""
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
