"""A graph run one node at a time in ONNX Runtime, so that every value really has the type that it states.

ONNX Runtime's CPU provider has no FP16 kernel for most operators (1.32 on x86: Conv, InstanceNormalization,
Pad, ... ). It puts casts around such nodes and then removes the pairs FP32 -> FP16 -> FP32 between
neighbours, at every optimisation level: values that the graph says are FP16 are never rounded, and the
pictures look better than any FP16 device will make them. Between two nodes that are graphs of their own
nothing can be removed. tests/test_export_steps.py holds both facts.

The arithmetic inside a node stays FP32, as on tensor cores, which multiply FP16 and add in FP32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, shape_inference

from getgan.errors import ExportError
from getgan.export.graph import INPUT, Array, OnnxModel, element_types


@dataclass
class _Step:
    node: onnx.NodeProto
    session: ort.InferenceSession
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    last: tuple[str, ...] = field(default=())  # values that nobody reads afterwards


class StepRunner:
    """Holds one session for each node."""

    def __init__(self, model: OnnxModel, threads: int = 0) -> None:
        proto = model.proto
        self.outputs = model.outputs
        self.steps: list[_Step] = []
        types = _types(proto)
        constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # errors are raised, with the node's name
        # A hundred sessions, each of which would keep its own pool of memory and let its threads spin.
        # The gate of a net with ngf 64 at 256x256: 4.8 GB without these three lines, 1.9 GB with them.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        for node in proto.graph.node:
            reads = tuple(dict.fromkeys(name for name in node.input if name and name not in constants))
            single = helper.make_graph(
                [node],
                "step",
                [helper.make_tensor_value_info(name, types[name], None) for name in reads],
                [helper.make_tensor_value_info(name, types[name], None) for name in node.output],
                [constants[name] for name in dict.fromkeys(node.input) if name in constants],
            )
            alone = helper.make_model(single, opset_imports=proto.opset_import, ir_version=proto.ir_version)
            try:
                session = ort.InferenceSession(
                    alone.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime raises a class of its own for each status
                raise ExportError(f"ONNX Runtime cannot load '{node.name}': {error!s:.200}") from error
            self.steps.append(_Step(node, session, reads, tuple(node.output)))
        self._mark_last_reads()

    def walk(self, image: Array) -> Iterator[tuple[onnx.NodeProto, str, Array]]:
        """Every value as it is made, with its node and name, for float32 (N, 3, H, W)."""
        values: dict[str, Array] = {INPUT: image}
        for step in self.steps:
            try:
                made = step.session.run(None, {name: values[name] for name in step.reads})
            except Exception as error:  # ONNX Runtime raises a class of its own for each status
                raise ExportError(f"ONNX Runtime cannot run '{step.node.name}': {error!s:.200}") from error
            for name, value in zip(step.writes, made, strict=True):
                values[name] = np.asarray(value)
                yield step.node, name, values[name]
            for name in step.last:
                del values[name]

    def run(self, image: Array) -> dict[str, Array]:
        """The graph's outputs for float32 (N, 3, H, W)."""
        return {name: value for _, name, value in self.walk(image) if name in self.outputs}

    def _mark_last_reads(self) -> None:
        """Values are dropped after their last reader: at 256x256, ngf 64, all of them are 600 MB."""
        left = Counter(name for step in self.steps for name in step.reads)
        for step in self.steps:
            left.subtract(step.reads)
            step.last = tuple(name for name in {*step.reads, *step.writes} if left[name] <= 0)


def _types(proto: onnx.ModelProto) -> dict[str, int]:
    """As `element_types`; ExportError names a node whose result has no known type."""
    try:
        types = element_types(proto)
    except shape_inference.InferenceError as error:
        first = str(error).strip().partition("\n")[0]
        raise ExportError(f"ONNX cannot infer the types of the graph ({first:.200})") from error
    for node in proto.graph.node:
        if any(name not in types for name in node.output):
            raise ExportError(f"'{node.name}' is a {node.op_type:.40}, which ONNX does not know")
    return types
