"""An ONNX graph as bytes: cleaned of what the exporter left, checked, and equal for equal weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import checker, numpy_helper, shape_inference

from getgan import __version__
from getgan.contract import SIGNED, Range
from getgan.errors import ExportError

INPUT = "image"

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """One ONNX graph, weights inside.

    Input `image` and output `face` are (N, 3, H, W) float32 RGB in the range; `occlusion` is
    (N, 1, H/4, W/4) float32 in [0, 1], `error` like `face`. Of frames: see frames.py.
    """

    data: bytes
    outputs: tuple[str, ...] = ("face",)
    filtered: tuple[str, ...] = ()  # exporter messages that were not shown, with the reason
    range: Range = SIGNED

    @property
    def sha256(self) -> str:
        """Hash of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def proto(self) -> onnx.ModelProto:
        """The parsed graph; read it, do not change it."""
        return onnx.load_from_string(self.data)

    @property
    def opset(self) -> int:
        """Version of ONNX's operators."""
        return next(int(entry.version) for entry in self.proto.opset_import if entry.domain == "")

    @property
    def operations(self) -> int:
        """Nodes in the graph."""
        return len(self.proto.graph.node)


def model_from_proto(
    proto: onnx.ModelProto,
    outputs: Sequence[str],
    filtered: Iterable[str] = (),
    value_range: Range = SIGNED,
) -> OnnxModel:
    """Check and serialise; ExportError where ONNX's checker or shape inference objects."""
    try:
        checker.check_model(proto, full_check=True)
        inferred = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(
            f"ONNX's checker refuses the graph ({first:.200}); wanted a valid one: report this"
        ) from error
    found = tuple(value.name for value in inferred.graph.output)
    if found != tuple(outputs) or [value.name for value in inferred.graph.input] != [INPUT]:
        raise ExportError(f"found a graph with outputs {found}; wanted {tuple(outputs)}: report this")
    return OnnxModel(
        proto.SerializeToString(deterministic=True), tuple(outputs), tuple(filtered), value_range
    )


def clean(proto: onnx.ModelProto, prefix: str) -> None:
    """Take out, in place, what names the building machine or changes from run to run.

    The exporter writes stack traces with file paths into metadata; initializers lose `prefix`, so that they
    are called as in the checkpoint.
    """
    graph = proto.graph
    proto.producer_name, proto.producer_version, proto.doc_string = "getgan", __version__, ""
    proto.domain, proto.model_version = "", 0
    del proto.metadata_props[:], proto.functions[:]
    graph.name, graph.doc_string = "generator", ""
    # Shapes inside follow from the input; a reader infers them, and stale ones mislead it.
    del graph.metadata_props[:], graph.value_info[:], graph.quantization_annotation[:]
    names = {tensor.name: tensor.name.removeprefix(prefix) for tensor in graph.initializer}
    for tensor in graph.initializer:
        tensor.name, tensor.doc_string = names[tensor.name], ""
        del tensor.metadata_props[:]
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            attribute.doc_string = ""
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]


def initializers(proto: onnx.ModelProto) -> dict[str, Array]:
    """The graph's constants by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def parameters(model: OnnxModel) -> int:
    """Numbers of floating type that the graph carries."""
    return sum(a.size for a in initializers(model.proto).values() if np.issubdtype(a.dtype, np.floating))


def element_types(proto: onnx.ModelProto) -> dict[str, int]:
    """ONNX's element type (TensorProto.FLOAT, ...) of every value and initializer."""
    inferred = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True).graph
    types = {tensor.name: int(tensor.data_type) for tensor in proto.graph.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types[value.name] = int(value.type.tensor_type.elem_type)
    return types


def shapes(proto: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Every value's and initializer's shape; a dimension that is not known is ""."""
    inferred = shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True).graph
    found: dict[str, tuple[int | str, ...]] = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        dims = value.type.tensor_type.shape.dim
        found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims)
    return found
