"""The ONNX files that the doctor tries backends with: `python -m getgan.export.probegraphs FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from getgan.files import write_bytes_atomic
from getgan.runtime.doctor.probe import SIZE, probe_weights

IR_VERSION = 8  # read by every ONNX Runtime >= 1.10 and by OpenVINO
OPSET = 17


def probe_model(*, half: bool) -> bytes:
    """image → three convolutions → tanh → face, float32 outside; half: float16 inside."""
    nodes = []
    last = "image"
    if half:
        nodes.append(helper.make_node("Cast", [last], ["inner"], "inner", to=TensorProto.FLOAT16))
        last = "inner"
    constants = []
    for number, weight in enumerate(probe_weights()):
        kind = np.float16 if half else np.float32
        constants.append(numpy_helper.from_array(weight.astype(kind), f"w{number}"))
        name = f"c{number}"
        nodes.append(helper.make_node("Conv", [last, f"w{number}"], [name], name, pads=[1, 1, 1, 1]))
        last = name
    nodes.append(helper.make_node("Tanh", [last], ["tanh" if half else "face"], "tanh"))
    if half:
        nodes.append(helper.make_node("Cast", ["tanh"], ["face"], "face", to=TensorProto.FLOAT))
    picture = [1, 3, SIZE, SIZE]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, picture)
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, picture)
    graph = helper.make_graph(nodes, "probe", [image], [face], constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


if __name__ == "__main__":
    for half, name in ((False, "probe-fp32.onnx"), (True, "probe-fp16.onnx")):
        write_bytes_atomic(Path(sys.argv[1]) / name, probe_model(half=half))
