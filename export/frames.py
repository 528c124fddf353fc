"""Graph of tensors → graph of frames: uint8 RGB in and out, so that a quarter of the bytes travel.

Both ends compute in float32 what runtime/pixels.py does: a level becomes a value of the range, and a value
the nearest level, half to even. TensorRT knows uint8 as a graph's input and output only, which a cast must
read and write: so the casts are outermost.

A level cannot say that its value was NaN or far outside the range. The output `extent` does: the smallest
and the largest value of the face before it was rounded, NaN if any value is NaN. The guard's features stay
float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from getgan.contract import half_width
from getgan.export.graph import INPUT, OnnxModel, model_from_proto
from getgan.export.grid import NODES
from getgan.runtime.manifest import EXTENT, FEATURES

TO_ROWS, TO_PLANES = [0, 2, 3, 1], [0, 3, 1, 2]  # NCHW to NHWC, and back


def frames_from_tensors(model: OnnxModel) -> OnnxModel:
    """Input uint8 (N, H, W, 3); outputs alike, occlusion uint8 (N, H', W') with 255 = hidden; and extent."""
    ends = _Ends(model)
    ends.take_levels()
    for value in ends.graph.output:
        if value.name != FEATURES:
            ends.give_levels(value)
    ends.give_extent()
    constants = {name for node in ends.graph.node for name in node.input}
    for tensor in [tensor for tensor in ends.graph.initializer if tensor.name not in constants]:
        ends.graph.initializer.remove(tensor)
    return model_from_proto(ends.proto, (*model.outputs, EXTENT), model.filtered, model.range)


class _Ends:
    """A copy of the graph, changed in place; its old outputs are called NAME.tensor."""

    def __init__(self, model: OnnxModel) -> None:
        self.proto = onnx.ModelProto()
        self.proto.CopyFrom(model.proto)
        self.graph = self.proto.graph
        self.low, self.step = model.range[0], 127.5 / half_width(model.range)  # of 1.0, in levels
        pictures = set(model.outputs) - {FEATURES}
        for node in self.graph.node:
            for names in (node.input, node.output):
                names[:] = [f"{name}.tensor" if name in pictures else name for name in names]

    def take_levels(self) -> None:
        """In front of the first node: levels, and the picture that they are."""
        body = list(self.graph.node)
        del self.graph.node[:]
        values = self._add("Cast", f"{INPUT}.values", INPUT, to=TensorProto.FLOAT)
        levels = picture = self._add("Transpose", f"{INPUT}.levels", values, perm=TO_PLANES)
        if [node for node in body if node.name in NODES and INPUT in node.input]:
            # From k to k/127.5 - 1 and back to k/256: in one step, and exactly.
            self._add("Mul", NODES[1], levels, self._constant("level", 1.0 / 256.0))
            body = [node for node in body if node.name not in NODES]
        else:
            scaled = self._add("Div", f"{INPUT}.scaled", levels, self._constant("step", self.step))
            picture = self._add("Add", f"{INPUT}.tensor", scaled, self._constant("low", self.low))
        for node in body:
            node.input[:] = [picture if name == INPUT else name for name in node.input]
        self.graph.node.extend(body)
        _retype(self.graph.input[0], TO_ROWS)

    def give_levels(self, output: onnx.ValueInfoProto) -> None:
        """Behind the last node: levels of a picture, or of a map."""
        name = output.name
        value, factor = f"{name}.tensor", 255.0
        if name != "occlusion":
            value = self._add("Sub", f"{name}.above", value, self._constant("low", self.low))
            factor = self.step
        value = self._add("Mul", f"{name}.levels", value, self._constant("step", factor))
        value = self._add("Round", f"{name}.whole", value)
        limits = self._constant("black", 0.0), self._constant("white", 255.0)
        value = self._add("Clip", f"{name}.clipped", value, *limits)
        if name == "occlusion":
            value = self._add("Squeeze", f"{name}.map", value, self._constant("channel", [1]))
        else:
            value = self._add("Transpose", f"{name}.rows", value, perm=TO_ROWS)
        self._add("Cast", name, value, to=TensorProto.UINT8)
        _retype(output, [0, 2, 3] if name == "occlusion" else TO_ROWS)

    def give_extent(self) -> None:
        """A mean is NaN if any value is, which of a minimum is not said."""
        face = self._add("Flatten", "face.flat", "face.tensor", axis=1)  # (N, 3 * H * W)
        least, most, mean = (
            self._add(
                f"Reduce{kind}", f"face.{kind.lower()}", face, self._constant("pixels", [1]), keepdims=1
            )
            for kind in ("Min", "Max", "Mean")
        )
        ends = self._add("Concat", "face.ends", least, most, axis=1)
        self._add("Where", EXTENT, self._add("IsNaN", "face.nan", mean), mean, ends)
        batch = self.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        self.graph.output.append(helper.make_tensor_value_info(EXTENT, TensorProto.FLOAT, [batch, 2]))

    def _add(self, kind: str, name: str, *reads: str, **attributes: Any) -> str:
        self.graph.node.append(helper.make_node(kind, list(reads), [name], name, **attributes))
        return name

    def _constant(self, name: str, value: float | list[int]) -> str:
        """A new one for each node, as the exporter's."""
        name = f"frames.{name}.{len(self.graph.initializer)}"
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def _retype(value: onnx.ValueInfoProto, axes: list[int]) -> None:
    """uint8, with the old axes in this order."""
    kind = value.type.tensor_type
    dims = list(kind.shape.dim)
    kind.elem_type = TensorProto.UINT8
    del kind.shape.dim[:]
    kind.shape.dim.extend(dims[axis] for axis in axes)
