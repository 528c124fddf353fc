"""A stranger's ONNX graph becomes a bundle that gives its pictures, or is refused in words."""

from __future__ import annotations

import hashlib
import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, external_data_helper, helper, numpy_helper
from onnx_helpers import endless
from torch import nn

from getgan.contract import half_width
from getgan.errors import CheckpointError, ConfigError, ExportError, GetganError, UsageError
from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.calibration import Shot
from getgan.export.guarding import Frames
from getgan.export.onnxfacts import inspect_onnx
from getgan.export.onnxfile import read_onnx
from getgan.export.onnxgraph import prepared
from getgan.export.onnxports import RANGES, OnnxOptions, ports_of, range_that_fits
from getgan.export.onnxsource import open_onnx
from getgan.export.onnxtrial import tried
from getgan.export.onnxwire import MAX_PARTS
from getgan.export.verify import verify_bundle
from getgan.runtime.bundle import Bundle
from getgan.runtime.guard.load import guard_of
from getgan.runtime.session import open_session
from getgan.training.faces import SceneConfig, render_ultrasound, seed_of

SIGNED = OnnxOptions(range="-1,1", size=32)


def quiet(_what: str, _share: float) -> None:
    pass


class Resnet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(nn.ReflectionPad2d(3), nn.Conv2d(3, 4, 7), nn.InstanceNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.InstanceNorm2d(4, affine=True), nn.LeakyReLU(0.2)),
            *(nn.ReflectionPad2d(3), nn.Conv2d(4, 3, 7), nn.Tanh()),
        )

    def forward(self, x: torch.Tensor) -> Any:
        y = self.model(x)
        return y, y.mean(dim=(2, 3))


class Unet(nn.Module):
    """Three levels, so multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in ((3, 4), (4, 8), (8, 8)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in ((8, 8), (16, 4), (8, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for layer in self.down:
            x = torch.relu(layer(x))
            kept.append(x)
        x = self.up[0](kept.pop())
        for layer in self.up[1:]:
            x = layer(torch.relu(torch.cat([x, kept.pop()], 1)))
        out: torch.Tensor = torch.tanh(x)
        return out


class Painter(nn.Module):
    """As fast neural style: values in 0..255, a norm written out, no activation at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 9, 2), nn.Conv2d(4, 3, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(nn.functional.pad(x, (4, 4, 4, 4), mode="reflect"))
        mean = y.mean((2, 3), keepdim=True)
        y = (y - mean) / ((y - mean) ** 2).mean((2, 3), keepdim=True).add(1e-5).sqrt()
        y = nn.functional.interpolate(y.relu(), scale_factor=2.0, mode="nearest")
        out: torch.Tensor = 90 * self.last(nn.functional.pad(y, (4, 4, 4, 4), mode="reflect")) + 120
        return out


NETS = {"resnet": Resnet, "unet": Unet, "painter": Painter}


@cache
def exported(name: str, opset: int, batch: int = 0, size: int = 0) -> bytes:
    """By PyTorch's older exporter; batch and size 0 = dynamic."""
    torch.manual_seed(0)
    file = io.BytesIO()
    axes = {0: "n"} if not batch else {}
    axes |= {2: "h", 3: "w"} if not size else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter's, about itself
        torch.onnx.export(
            NETS[name]().eval(),
            (torch.zeros(batch or 1, 3, size or 32, size or 32),),
            file,  # type: ignore[arg-type]  # the older exporter writes into files too
            opset_version=opset,
            dynamo=False,
            input_names=["x"],
            output_names=["y", "mean"][: 2 if name == "resnet" else 1],
            dynamic_axes={"x": axes, "y": axes},
        )
    return file.getvalue()


def written(path: Path, data: bytes | onnx.ModelProto) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return path


def answer(data: bytes, images: Any, **feeds: Any) -> Any:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, feeds or {session.get_inputs()[0].name: images})[0]


def noise(options: OnnxOptions, count: int, side: int) -> Any:
    low, high = RANGES[options.range]
    return np.random.default_rng(5).uniform(low, high, (count, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "opset", "options", "contract"),
    [
        ("resnet", 11, SIGNED, (2, 4)),
        ("resnet", 17, SIGNED, (2, 4)),
        ("unet", 11, SIGNED, (8, 8)),
        ("painter", 11, OnnxOptions(range="0,255", size=32, clip=True), (2, 6)),
        ("painter", 17, OnnxOptions(range="0,255", size=32, clip=True), (2, 6)),
    ],
)
def test_the_graph_that_is_made_gives_the_files_pictures(
    name: str, opset: int, options: OnnxOptions, contract: tuple[int, int], tmp_path: Path
) -> None:
    data = exported(name, opset)
    file = read_onnx(written(tmp_path / "a.onnx", data))
    found = tried(file, options).contract
    assert found is not None
    assert (found.multiple_of, found.min_size) == contract
    model, did = prepared(file, ports_of(file, options), found.range, clip=options.clip)
    assert model.opset == 18 and f"opset {opset} converted to 18" in did
    images = noise(options, 2, 40)
    right = answer(data, images)
    right = np.clip(right, *found.range) if options.clip else right
    assert np.abs(answer(model.data, images) - right).max() / half_width(found.range) <= 1e-4
    assert {node.op_type for node in model.proto.graph.node}.isdisjoint({"Constant", "Identity"})


def test_a_bundle_of_a_graph_verifies_and_says_what_was_done(tmp_path: Path) -> None:
    data = exported("resnet", 11)
    path = written(tmp_path / "net.onnx", data)
    report = export_bundle(path, tmp_path / "b", ExportOptions(onnx=SIGNED), quiet)
    model, export = report.manifest.model, report.manifest.export
    assert (model.arch, model.source_sha256) == ("onnx", hashlib.sha256(data).hexdigest())
    assert model.config["range"] == "-1,1" and model.config["opset"] == 11
    assert (model.sources["size"], model.sources["multiple_of"]) == ("flag", "trial")
    assert "outputs dropped: mean; opset 11 converted to 18" in model.notes
    assert (export.torch, export.opset) == ("", 18)
    assert [variant.name for variant in report.manifest.variants][:2] == ["fp32", "fp16"]
    assert "what ONNX Runtime in FP32 makes of it" in (tmp_path / "b" / "index.html").read_text()
    images = noise(SIGNED, 2, 36)
    graph = Bundle.open(tmp_path / "b").read("graphs/fp32.onnx")
    assert np.abs(answer(graph, images) - answer(data, images)).max() <= 1e-4
    verdict = verify_bundle(tmp_path / "b", path, quiet)
    assert verdict.passed and "from ONNX Runtime's pictures" in verdict.text()
    other = written(tmp_path / "other.onnx", exported("unet", 11))
    with pytest.raises(GetganError, match="found a bundle of checkpoint"):
        verify_bundle(tmp_path / "b", other, quiet)


def test_a_guard_is_calibrated_for_a_strangers_graph(tmp_path: Path) -> None:
    scene = SceneConfig(size=32)
    shots = [
        Shot(render_ultrasound(scene, seed_of("ultrasound", "probe", 100 + n)).ultrasound) for n in range(40)
    ]
    path = written(tmp_path / "net.onnx", exported("resnet", 17))
    options = ExportOptions(onnx=SIGNED, calibration=Frames(shots, "rendered scans"), threads=1)
    report = export_bundle(path, tmp_path / "b", options, quiet)
    guard = report.manifest.guard
    assert guard is not None and guard.fitted + guard.tested == len(shots)
    assert "calibrated with rendered scans" in report.text()
    bundle = Bundle.open(tmp_path / "b")
    graph = bundle.read("graphs/fp32.onnx")
    images = noise(SIGNED, 2, 36)
    assert np.abs(answer(graph, images) - answer(path.read_bytes(), images)).max() <= 1e-4
    assert guard_of(bundle) is not None
    with open_session(bundle, precision="fp32", threads=1) as session:  # tries a picture that it must refuse
        assert session.info.precision == "fp32"
    verdict = verify_bundle(tmp_path / "b", path, quiet)
    assert verdict.passed and "calibrated with rendered scans" in verdict.text()


def test_a_batch_of_one_and_rows_of_pixels_are_turned(tmp_path: Path) -> None:
    file = read_onnx(written(tmp_path / "a.onnx", exported("unet", 17, batch=1, size=32)))
    trial = tried(file, OnnxOptions(range="-1,1"))
    assert trial.contract is not None and (trial.contract.size, trial.contract.fixed) == (32, True)
    rows = written(tmp_path / "rows.onnx", in_rows(onnx.load_from_string(exported("unet", 17))))
    file = read_onnx(rows)
    ports = ports_of(file)
    assert (ports.rows_in, ports.rows_out) == (True, True)
    assert tried(file, SIGNED).contract is not None
    model, did = prepared(file, ports, (-1.0, 1.0), clip=False)
    assert "NHWC turned into NCHW" in did
    assert "Transpose" not in {node.op_type for node in model.proto.graph.node}
    images = noise(SIGNED, 1, 32)
    right = answer(rows.read_bytes(), np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    assert np.abs(answer(model.data, images) - right.transpose(0, 3, 1, 2)).max() <= 1e-4


def in_rows(proto: onnx.ModelProto) -> onnx.ModelProto:
    """As TensorFlow's exporter writes it."""
    graph = proto.graph
    for node in graph.node:
        node.input[:] = ["inner" if name == "x" else name for name in node.input]
        node.output[:] = ["outer" if name == "y" else name for name in node.output]
    graph.node.insert(0, helper.make_node("Transpose", ["x"], ["inner"], "in", perm=[0, 3, 1, 2]))
    graph.node.append(helper.make_node("Transpose", ["outer"], ["y"], "out", perm=[0, 2, 3, 1]))
    for value in (graph.input[0], graph.output[0]):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["n", "h", "w", 3]))
    return proto


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("unet", OnnxOptions("-1,1", 32, multiple_of=4), "does not take every multiple of 4: .* it "),
        (
            "resnet",
            OnnxOptions("-1,1", 32, multiple_of=2, min_size=2),
            r"does not take 2x2 pixels: it (reflects|cannot be run)",
        ),
        ("unet", OnnxOptions("-1,1", 36, fixed=True), "does not take 36x36 pixels"),
        (
            "unet",
            OnnxOptions("-1,1", 32, min_size=8, fixed=True),
            "found --min-size 8; this graph takes 32x32 only",
        ),
        ("unet", OnnxOptions("-1,1", 32, multiple_of=24, fixed=True), "found --multiple-of 24; this graph"),
        ("unet", OnnxOptions("-1,1", 36), "found --size 36; this graph takes multiples of 8"),
    ],
)
def test_a_contract_that_is_stated_wrong_is_found_out(
    name: str, options: OnnxOptions, words: str, tmp_path: Path
) -> None:
    file = read_onnx(written(tmp_path / "a.onnx", exported(name, 17)))
    with pytest.raises((ExportError, ConfigError), match=words):
        tried(file, options)


def test_answers_that_leave_the_range_are_told_with_the_one_that_fits(tmp_path: Path) -> None:
    path = written(tmp_path / "net.onnx", exported("unet", 17))
    for wrong in ("0,255", "0,1"):
        with pytest.raises(ExportError, match=r"found answers from .* --range=-1,1 would fit"):
            export_bundle(path, tmp_path / "b", ExportOptions(onnx=OnnxOptions(wrong, 32)), quiet)
    assert not (tmp_path / "b").exists()
    assert [range_that_fits(*ends) for ends in ((0, 1), (-0.9, 0.9), (3, 200), (-40, 300))] == [
        *("--range=0,1", "--range=-1,1", "--range=0,255", "")
    ]
    with pytest.raises(UsageError, match="found no --range, which no graph tells"):
        open_onnx(path, OnnxOptions())


def test_inspect_says_what_export_would_need(tmp_path: Path) -> None:
    facts = inspect_onnx(written(tmp_path / "a.onnx", exported("resnet", 11)))
    assert facts.inputs == ("x float32 (n, 3, h, w)",) and facts.opset == 11
    assert "converts opset 11 to 18" in facts.text() and "drops the outputs mean" in facts.text()


def small(node: onnx.NodeProto, kind: int = TensorProto.FLOAT, **more: Any) -> onnx.ModelProto:
    """A graph of one node from x to y."""
    sides: list[str | int | None] = ["n", 3, "h", "w"]
    first, last = ([helper.make_tensor_value_info(name, kind, sides)] for name in ("x", "y"))
    graph = helper.make_graph([node], "g", first, last, **more)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(kind: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, ["x", *inputs], ["y"], "it", **attributes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "found 0 bytes"),
        (b"no graph at all", "damaged file or no ONNX graph"),
        (small(node("Magic", domain="com.example")), "'it', a Magic of the domain com.example"),
        (small(node("Relu"), TensorProto.FLOAT16), "in FLOAT16; wanted a float32 graph"),
        (small(node("QLinearAdd")), "the float32 graph that was quantised"),
        (small(node("RandomNormalLike")), "the same picture each time"),
        (small(node("If", then_branch=onnx.GraphProto(name="g"))), "without branches and loops"),
    ],
)
def test_what_no_bundle_can_hold_is_named(data: Any, words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", data)
    with pytest.raises((ExportError, CheckpointError), match=words) as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


@pytest.mark.parametrize("stated", [onnx.AttributeProto.UNDEFINED, onnx.AttributeProto.INT])
def test_a_loop_under_another_type_is_one_all_the_same(stated: int, tmp_path: Path) -> None:
    proto = onnx.load_from_string(endless())
    (body,) = (each for node in proto.graph.node for each in node.attribute if each.HasField("g"))
    body.type = stated
    with pytest.raises(ExportError, match="without branches and loops"):
        read_onnx(written(tmp_path / "a.onnx", proto))


def test_a_function_that_is_called_like_an_operator_is_left_out(tmp_path: Path) -> None:
    proto = small(node("Relu"))
    loop = list(onnx.load_from_string(endless()).graph.node)
    proto.functions.append(
        helper.make_function("", "Relu", ["image"], ["face"], loop, [helper.make_opsetid("", 18)])
    )
    assert not read_onnx(written(tmp_path / "a.onnx", proto)).proto.functions


def field(number: int, data: bytes) -> bytes:
    """Of protobuf, with bytes in it."""
    length = bytes([len(data) >> shift & 127 | 128 for shift in (0, 7, 14)] + [len(data) >> 21])
    return bytes([number << 3 | 2]) + length + data


@pytest.mark.parametrize(
    "graph",
    [
        b"\x0a\x00" * MAX_PARTS,  # empty nodes: 80 MB, and 20 MB of them 1.7 GB
        b"\x2a\x00" * MAX_PARTS,  # weights
        field(1, b"\x0a\x00" * MAX_PARTS),  # a node's inputs of no name
        field(1, field(5, field(8, b"\1" * MAX_PARTS))),  # small numbers, each of which takes 8 bytes
    ],
)
def test_a_file_of_a_million_parts_is_not_parsed(graph: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", b"\x08\x08" + field(7, graph) + b"\x42\x02\x10\x12")
    with pytest.raises(CheckpointError, match="more than 500,000 parts"):
        read_onnx(path)


def test_a_weight_of_a_terabyte_without_its_numbers_is_named(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", dims=[1 << 40], data_type=TensorProto.FLOAT)
    with pytest.raises(CheckpointError, match="'w' without their numbers"):
        read_onnx(written(tmp_path / "a.onnx", small(node("Relu"), initializer=[tensor])))


def outside(location: str) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.full((1, 3, 1, 1), 0.5, np.float32), "half")
    external_data_helper.set_external_data(tensor, location, 0, 12)
    tensor.ClearField("raw_data")
    return small(node("Mul", "half"), initializer=[tensor])


def test_weights_beside_the_file_are_part_of_it(tmp_path: Path) -> None:
    data = np.full(3, 0.5, np.float32).tobytes()
    (tmp_path / "weights.bin").write_bytes(data)
    path = written(tmp_path / "a.onnx", outside("weights.bin"))
    file = read_onnx(path)
    assert file.sha256 == hashlib.sha256(path.read_bytes() + data).hexdigest()
    assert file.weights["half"].ravel().tolist() == [0.5] * 3
    (tmp_path / "weights.bin").write_bytes(data[:8])
    with pytest.raises(CheckpointError, match="beyond the end"):
        read_onnx(path)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "link", "linked/secret", "sub/../../secret"]
)
def test_weights_elsewhere_are_not_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    with pytest.raises(CheckpointError, match="wanted a file in the graph's own folder, and no link"):
        read_onnx(written(folder / "a.onnx", outside(location)))


def test_bytes_beside_the_file_are_used_once(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(12))
    proto = outside("weights.bin")
    for number in range(3):
        again = proto.graph.initializer.add()
        again.CopyFrom(proto.graph.initializer[0])
        again.name = f"again{number}"
    with pytest.raises(CheckpointError, match=r"the same bytes of weights\.bin twice"):
        read_onnx(written(tmp_path / "a.onnx", proto))


def test_a_graph_that_fills_the_memory_is_not_run_here(tmp_path: Path) -> None:
    big = numpy_helper.from_array(np.array([1, 3, 40000, 40000], np.int64), "big")
    graph = small(helper.make_node("Expand", ["mean", "big"], ["wide"]), initializer=[big])
    nodes = graph.graph.node
    nodes.insert(0, helper.make_node("ReduceMean", ["x"], ["mean"]))
    nodes.append(helper.make_node("ReduceMax", ["wide"], ["top"]))
    nodes.append(helper.make_node("Add", ["x", "top"], ["y"]))
    with pytest.raises(ExportError, match="memory when it was tried, in a process of its own"):
        open_onnx(written(tmp_path / "a.onnx", graph), SIGNED)
