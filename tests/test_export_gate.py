"""The gate accepts what gives PyTorch's pictures, refuses what does not, and says which node and how much."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from export_helpers import NETS, checkpoint_of, example, exported
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from getgan.contract import Contract, Output
from getgan.errors import ConfigError, DataError, ExportError
from getgan.export.convert import TARGETS, Target, convert
from getgan.export.gate import Gate
from getgan.export.graph import OnnxModel, model_from_proto
from getgan.export.images import GOLDEN_NAMES, MAX_OWN, gate_images, judged_size
from getgan.export.record import NOT_RUN, QualityRecord, VariantRecord, json_from_record, record_from_json
from getgan.export.reference import PyTorchReference
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint
from getgan.runtime.geometry import buckets, lay, placement, resize
from getgan.runtime.images import write_image
from getgan.runtime.manifest import Plan

CONTRACT = Contract(32, 8, 4)
FLAT = ("grey", "black")
FP32, FP16, BF16 = TARGETS
SMALLEST = 8  # of getgan-64
LIMITS = {target.name: target.limits for target in TARGETS}


def gate_of(
    checkpoint: Checkpoint,
    names: tuple[str, ...] = ("hand", "clean-1", "letterbox"),
    outputs: tuple[Output, ...] = ("face",),
) -> Gate:
    contract = checkpoint.contract
    chosen = [image for image in gate_images(contract) if image.name in names]
    return Gate(PyTorchReference(checkpoint, outputs), contract, chosen, 2)


# --- pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "judged"), [(8, 32), (32, 32), (64, 64), (100, 100)])
def test_the_pictures_fit_the_contract(size: int, judged: int) -> None:
    images = gate_images(Contract(size, 8, 4))
    assert judged_size(Contract(size, 8, 4)) == judged
    assert [image.name for image in images] == [
        *("hand", "limb", "cord", "placenta", "clean-1", "clean-2"),
        *("limb-4x3", "cord-3x4", "placenta-wide"),
        *("letterbox", "noise", "contrast", "grey", "black"),
    ]
    places = buckets(Contract(size, 8, 4), judged)
    for image in images:
        assert image.pixels.dtype == np.uint8
        height, width = image.pixels.shape[:2]
        assert height % 4 == width % 4 == 0
        assert (height, width) in places or (image.name in FLAT and 32 <= height <= judged)
        assert image.pixels.std() > 30 or image.name in FLAT
    shapes = {image.name: image.pixels.shape[:2] for image in images}
    wide, upright, widest = (shapes[name] for name in ("limb-4x3", "cord-3x4", "placenta-wide"))
    assert upright == (wide[1], wide[0]) and 1.2 < wide[1] / wide[0] < 1.45 < widest[1] / widest[0]
    assert {image.name for image in images if image.golden} == set(GOLDEN_NAMES)
    again = gate_images(Contract(size, 8, 4))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(images, again, strict=True))


@pytest.mark.parametrize(
    "contract",
    [
        Contract(256, 256, 256),  # pix2pix's unet_256
        Contract(128, 128, 128),
        Contract(1024, 256, 256),
        Contract(24, 12, 12),
        Contract(300, 100, 100),
        Contract(100, 96, 4),
    ],
    ids=str,
)
def test_every_picture_has_a_size_that_the_network_takes(contract: Contract) -> None:
    for image in gate_images(contract):
        sides = image.pixels.shape[:2]
        assert all(side % contract.multiple_of == 0 and side >= contract.min_size for side in sides), image


def test_a_fixed_contract_has_one_size_only() -> None:
    images = gate_images(Contract(48, 48, 4, fixed=True))
    assert {image.pixels.shape for image in images} == {(48, 48, 3)}
    assert len(images) == 11


def test_own_pictures_are_laid_as_run_lays_them_numbered_and_never_golden(tmp_path: Path) -> None:
    path = tmp_path / "Jane Doe.png"
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    write_image(path, picture)
    *_, own = gate_images(CONTRACT, [path])
    assert (own.name, own.kind, own.golden) == ("own-1", "own", False)
    assert np.array_equal(own.pixels, lay(picture, placement(60, 80, 32, "fit", CONTRACT)))
    assert own.pixels.shape[:2] in buckets(CONTRACT, 32) and own.pixels.shape[1] > own.pixels.shape[0]
    assert "Doe" not in own.about
    *_, square = gate_images(Contract(48, 48, 4, fixed=True), [path])
    assert np.array_equal(square.pixels, resize(picture[:, 10:70], 48, 48))
    write_image(path, picture[:16])
    with pytest.raises(DataError, match=r"Jane Doe\.png: found a picture of 80x16 pixels; .*aspect of 3:1"):
        gate_images(CONTRACT, [path])
    with pytest.raises(DataError, match="no such file"):
        gate_images(CONTRACT, [tmp_path / "gone.png"])
    with pytest.raises(ConfigError, match="found 33 own images"):
        gate_images(CONTRACT, [path] * (MAX_OWN + 1))


# --- trained networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["getgan-64", "cyclegan-64"])
def test_shipped_checkpoints_pass_in_every_precision(name: str) -> None:
    checkpoint, model = example(name)
    contract = checkpoint.contract
    judge = Gate(PyTorchReference(checkpoint), contract, gate_images(contract), 2)
    fp32 = judge.judge(FP32, model)
    assert fp32.accepted, fp32.reason
    assert [(shape.batch, shape.height, shape.width) for shape in fp32.shapes] == [(2, 48, 32), (1, 8, 8)]
    fp16 = judge.judge(FP16, convert(model, FP16.plan), model)
    assert fp16.accepted, fp16.reason
    records = [fp32, fp16]
    bf16 = judge.judge(BF16, model)
    if not bf16.accepted:
        assert (bf16.backend, bf16.images) == (NOT_RUN, ())  # refused only where it cannot run
    else:
        records.append(bf16)
    for record in records:
        assert len(record.images) == 14
        unclear = [image.name for image in record.images if image.undetermined]
        assert unclear == list(FLAT)
        limit = LIMITS[record.name]
        counted = [image for image in record.images if not image.undetermined]
        figures = record.figures
        assert figures is not None
        psnrs = [image.psnr for image in counted if image.psnr is not None]
        assert figures.psnr == (min(psnrs) if psnrs else None)
        assert figures.psnr is None or figures.psnr >= limit.psnr
        assert figures.ssim == min(image.ssim for image in counted if image.ssim is not None)
        assert figures.max_error == max(image.max_error for image in counted if image.max_error is not None)
        assert all(image.perceptual is not None for image in counted)
    quality = QualityRecord(source_sha256="", limits=LIMITS, variants=tuple(records))
    assert record_from_json(json_from_record(quality)) == quality


def test_bf16_really_differs_from_fp32() -> None:
    checkpoint, model = example("getgan-64")
    record = gate_of(checkpoint, ("hand",)).judge(BF16, model)
    if not record.images:
        pytest.skip(record.reason)
    assert record.figures is not None
    assert record.figures.max_error > 1e-3


@pytest.mark.parametrize("name", NETS)
def test_every_architecture_passes_in_fp32(name: str) -> None:
    record = gate_of(checkpoint_of(name)).judge(FP32, exported(name))
    assert record.accepted, record.reason
    assert len(record.shapes) == (1 if name == "ugatit-full" else 2)


# --- what must be refused -------------------------------------------------------------------------------


def changed(model: OnnxModel, name: str, change: Any) -> OnnxModel:
    """The graph with one initializer changed."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    return model_from_proto(proto, model.outputs)


def test_a_wrong_fp32_graph_is_refused_with_figures() -> None:
    checkpoint, model = example("getgan-64")
    wrong = changed(model, "gate.weight", lambda weight: weight * np.float32(1.001))
    record = gate_of(checkpoint).judge(FP32, wrong)
    assert not record.accepted
    assert re.search(r"max error \d\.\d+e-0\d, wanted at most 1e-04 on '\w", record.reason)
    assert record.shapes == ()


def extended(model: OnnxModel, output: str, nodes: list[onnx.NodeProto], **constants: Any) -> OnnxModel:
    """The graph with nodes behind one output: they read `raw` and write the output's name."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:
        node.input[:] = ["raw" if name == output else name for name in node.input]
        node.output[:] = ["raw" if name == output else name for name in node.output]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    return model_from_proto(proto, model.outputs)


FIRST_IMAGE_FOR_ALL = (
    [
        helper.make_node("Shape", ["raw"], ["sides"], "sides"),
        helper.make_node("Slice", ["raw", "zero", "one"], ["first"], "first"),
        helper.make_node("Expand", ["first", "sides"], ["face"], "again"),
    ],
    {"zero": np.array([0]), "one": np.array([1])},
)
NAN_FOR_THE_SECOND = (
    [
        helper.make_node("Shape", ["raw"], ["many"], "many", start=0, end=1),
        helper.make_node("Cast", ["many"], ["count"], "count", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["two", "count"], ["left"], "left"),  # 1 for one image, 0 for two
        helper.make_node("Div", ["left", "left"], ["factor"], "factor"),
        helper.make_node("Mul", ["raw", "factor"], ["face"], "face"),
    ],
    {"two": np.array([2.0], np.float32)},
)


@pytest.mark.parametrize(
    ("fault", "found"), [(FIRST_IMAGE_FOR_ALL, r"\d\.\d+e[+-]\d+"), (NAN_FOR_THE_SECOND, "NaN")]
)
def test_a_graph_that_is_right_for_one_image_only_is_refused(fault: Any, found: str) -> None:
    checkpoint, model = example("getgan-64")
    nodes, constants = fault
    record = gate_of(checkpoint).judge(FP32, extended(model, "face", nodes, **constants))
    assert not record.accepted
    assert re.match(rf"max error {found} at batch 2, 48x32, wanted at most 1e-04", record.reason)
    assert (record.shapes[0].max_error is None) == (found == "NaN")
    quality = QualityRecord(source_sha256="", limits=LIMITS, variants=(record,))
    assert record_from_json(json_from_record(quality)) == quality


def rounding_moves(gate: Gate, monkeypatch: pytest.MonkeyPatch, by: float, pictures: int) -> list[int]:
    """Let FP64 be further from FP32 by so much for the first pictures of the smallest size.

    Returns the heights of all that is asked of FP64.
    """
    asked: list[int] = []
    exact = gate.reference.infer_exactly

    def infer_exactly(images: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        asked.append(images.shape[2])
        moved = by if images.shape[2] == SMALLEST and len(asked) <= pictures else 0.0
        return {name: found + moved for name, found in exact(images).items()}

    monkeypatch.setattr(gate.reference, "infer_exactly", infer_exactly)
    return asked


def off_where_small(model: OnnxModel, by: float) -> OnnxModel:
    """The graph, whose face is off by so much where it is of the smallest size."""
    nodes = [
        helper.make_node("Shape", ["raw"], ["side"], "side", start=3, end=4),
        helper.make_node("Equal", ["side", "small"], ["is_small"], "is_small"),
        helper.make_node("Cast", ["is_small"], ["as_number"], "as_number", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["as_number", "by"], ["off"], "off"),
        helper.make_node("Add", ["raw", "off"], ["face"], "add"),
    ]
    constants = {"small": np.array([SMALLEST]), "by": np.array([by], np.float32)}
    return extended(model, "face", nodes, **constants)


def test_a_size_at_which_rounding_decides_some_pictures_is_judged_by_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, model = example("getgan-64")
    wrong = off_where_small(model, 3e-4)
    for pictures, asked in ((0, 1), (1, 2), (2, 3), (3, 3)):  # of three; where none is left, none proves it
        gate = gate_of(checkpoint)
        seen = rounding_moves(gate, monkeypatch, 1e-3, pictures)
        record = gate.judge(FP32, wrong)
        assert (record.accepted, seen) == (False, asked * [SMALLEST])
        assert re.match(rf"max error [23]\.\d+e-04 at batch 1, {SMALLEST}x{SMALLEST}, wanted", record.reason)
    gate = gate_of(checkpoint)
    seen = rounding_moves(gate, monkeypatch, 5e-6, 3)  # far less than the limit: it has a right answer
    assert not gate.judge(FP32, wrong).accepted and seen == [SMALLEST]
    gate = gate_of(checkpoint)
    seen = rounding_moves(gate, monkeypatch, 1e-3, 3)
    assert gate.judge(FP32, model).accepted and seen == []  # who keeps the limit is not asked


def test_a_graph_is_right_if_only_a_picture_that_rounding_decides_is_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, model = example("getgan-64")
    gate = gate_of(checkpoint)
    seen = rounding_moves(gate, monkeypatch, 1e-3, 1)
    infer, small = gate.reference.infer, []

    def off_for_the_first(images: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        if images.shape[2] == SMALLEST:
            small.append(images)
        off = 3e-4 if len(small) == 1 and images.shape[2] == SMALLEST else 0.0
        return {name: found + off for name, found in infer(images).items()}

    monkeypatch.setattr(gate.reference, "infer", off_for_the_first)
    record = gate.judge(FP32, model)
    assert record.accepted and seen == [SMALLEST] and len(small) == 2
    assert not np.array_equal(small[0], small[1])
    assert [(shape.batch, shape.height) for shape in record.shapes] == [(2, 48), (1, SMALLEST)]
    assert all(shape.max_error is not None and shape.max_error < 1e-4 for shape in record.shapes)


# --- every output in every precision --------------------------------------------------------------------


@cache
def with_all_outputs() -> tuple[Checkpoint, OnnxModel, OnnxModel]:
    """A tiny net with face, map and error picture, in FP32 and FP16."""
    checkpoint = checkpoint_of("getgan-1x1")
    model = export_onnx(checkpoint, outputs=("face", "occlusion", "error"))
    return checkpoint, model, convert(model, FP16.plan)


def judged(target: Target, change: Any = lambda model: model) -> VariantRecord:
    checkpoint, fp32, fp16 = with_all_outputs()
    judge = gate_of(checkpoint, ("hand",), ("face", "occlusion", "error"))
    record = judge.judge(target, change(fp16 if target is FP16 else fp32))
    if record.backend == NOT_RUN:
        pytest.skip(record.reason)
    return record


@pytest.mark.parametrize("target", TARGETS, ids=LIMITS)
def test_right_outputs_are_accepted_and_their_errors_recorded(target: Target) -> None:
    record = judged(target)
    assert record.accepted, record.reason
    limit = target.limits.occlusion
    assert record.figures is not None and record.figures.occlusion is not None
    assert record.figures.occlusion <= limit
    for image in record.images:
        assert [other.name for other in image.others] == ["occlusion", "error"]
        assert all(other.max_error is not None for other in image.others)


@pytest.mark.parametrize("target", TARGETS, ids=LIMITS)
@pytest.mark.parametrize(
    ("output", "factor", "offset", "message"),
    [
        ("occlusion", np.nan, 0.0, "100.0% of the output occlusion is NaN"),
        ("occlusion", 0.0, 0.0, r"occlusion map off by \d\.\de-01, wanted at most"),
        ("occlusion", 0.0, 1e6, r"the output occlusion reaches from 1e\+06 to 1e\+06, wanted 0 to 1"),
        ("error", np.nan, 0.0, "100.0% of the output error is NaN"),
        ("error", 0.9, 0.0, r"error: .*PSNR"),
        ("error", 1.0, 5.0, "the output error reaches from"),
    ],
)
def test_another_output_that_is_wrong_is_refused(
    target: Target, output: str, factor: float, offset: float, message: str
) -> None:
    nodes = [
        helper.make_node("Mul", ["raw", "factor"], ["scaled"], "scaled"),
        helper.make_node("Add", ["scaled", "offset"], [output], "moved"),
    ]
    constants = {"factor": np.float32(factor), "offset": np.float32(offset)}
    record = judged(target, lambda model: extended(model, output, nodes, **constants))
    assert not record.accepted
    assert re.search(message, record.reason), record.reason


def test_the_map_of_a_hard_picture_may_be_off_by_a_quarter_of_a_level() -> None:
    def missed(offset: float) -> dict[str, tuple[str, ...]]:
        checkpoint, model, _ = with_all_outputs()
        nodes = [helper.make_node("Add", ["raw", "offset"], ["occlusion"], "moved")]
        changed = extended(model, "occlusion", nodes, offset=np.float32(offset))
        record = gate_of(checkpoint, ("hand", "contrast"), ("face", "occlusion", "error")).judge(
            FP32, changed
        )
        return {image.name: image.failures for image in record.images}

    for offset, contrast in ((8e-4, False), (2e-3, True)):
        found = missed(offset)
        assert [bool(found[name]) for name in ("hand", "contrast")] == [True, contrast]
        assert "occlusion map off by" in found["hand"][0] and "wanted at most 1e-04" in found["hand"][0]


def test_a_map_of_another_size_is_refused() -> None:
    nodes = [helper.make_node("Concat", ["raw", "raw"], ["occlusion"], "twice", axis=2)]
    record = judged(FP32, lambda model: extended(model, "occlusion", nodes))
    assert re.search(
        r"found an output of shape \(1, 1, 16, 8\) for occlusion, wanted \(1, 1, 8, 8\)", record.reason
    )


def scale(key: str, factor: float) -> Any:
    def change(state: dict[str, Tensor]) -> None:
        state[key].mul_(factor)

    return change


def test_an_overflow_is_told_with_node_magnitude_and_image() -> None:
    # The norm behind it takes the factor away: FP32 pictures stay, FP16 overflows.
    checkpoint = checkpoint_of("getgan-1x1", scale("shared.7.weight", 3e5))
    model = export_onnx(checkpoint)
    judge = gate_of(checkpoint, ("hand", "noise"))
    assert judge.judge(FP32, model).accepted
    record = judge.judge(FP16, convert(model, FP16.plan), model)
    assert not record.accepted
    found = re.search(
        r"'(\S+)' \(Conv\) reaches \|x\| = ([\d,]+) on '(hand|noise)', above FP16's 65,504", record.reason
    )
    assert found, record.reason
    assert int(found[2].replace(",", "")) > 65504
    assert found[1] == [node.name for node in model.proto.graph.node if node.op_type == "Conv"][2]
    assert "NaN or infinite" in record.reason
    assert record.figures is None
    assert "\n" not in record.reason


def test_statistics_in_fp16_would_break_and_ours_do_not() -> None:
    # |x| stays near 1000 in front of the norm, its square does not stay below 65504.
    checkpoint = checkpoint_of("ugatit", scale("UpBlock1_1.conv1.weight", 1000.0))
    model = export_onnx(checkpoint)
    judge = gate_of(checkpoint, ("hand",))
    assert judge.judge(FP32, model).accepted
    # An untrained net may miss 60 dB; that it is finite and close is what FP32 statistics give.
    ours = judge.judge(FP16, convert(model, FP16.plan), model)
    assert ours.images[0].psnr is not None and ours.images[0].psnr > 45, ours.reason
    record = judge.judge(FP16, convert(model, Plan("fp16")), model)
    assert not record.accepted
    # The picture itself is finite and looks plausible: the infinite variance divides it to zero.
    assert np.isfinite(record.images[0].max_error or np.nan)
    assert re.search(r"'\S+' \(Mul\) is not finite on 'hand', where FP32 reaches", record.reason), (
        record.reason
    )


def test_lost_precision_is_told_with_the_node_that_moved() -> None:
    checkpoint, model = example("getgan-64")
    fp16 = convert(model, FP16.plan)
    wrong = changed(fp16, "fake.0.conv_block.1.weight.fp16", lambda weight: weight * np.float16(1.5))
    wrong = changed(wrong, "fake.0.conv_block.1.weight.fp16", lambda weight: weight + np.float16(0.01))
    record = gate_of(checkpoint).judge(FP16, wrong, model)
    assert not record.accepted
    found = re.search(r"'(\S+)' \(Conv\) has moved by [\d.]+% on '\w", record.reason)
    assert found, record.reason
    node = next(node for node in model.proto.graph.node if node.name == found[1])
    assert node.input[1] == "fake.0.conv_block.1.weight"


def test_a_picture_that_is_not_finite_counts_even_where_none_is_right() -> None:
    checkpoint, model = example("getgan-64")
    judge = gate_of(checkpoint, ("hand", "black"))
    assert judge.judge(FP32, model).accepted
    fp16 = convert(model, FP16.plan)
    assert judge.judge(FP16, fp16, model).accepted
    # NaN where every pixel of the input is black: 0/0 of its brightness.
    nodes = [
        helper.make_node("Add", ["image", "one"], ["above"], "above"),
        helper.make_node("ReduceMax", ["above"], ["brightest"], "brightest", keepdims=0),
        helper.make_node("Div", ["brightest", "brightest"], ["factor"], "factor"),
        helper.make_node("Mul", ["raw", "factor"], ["face"], "face"),
    ]
    record = judge.judge(FP16, extended(fp16, "face", nodes, one=np.float32(1.0)))
    assert not record.accepted
    assert "100.0% of the output face is NaN or infinite on 'black'" in record.reason
    assert [image.name for image in record.images if image.failures] == ["black"]


def test_nothing_but_flat_pictures_proves_nothing() -> None:
    checkpoint, model = example("getgan-64")
    with pytest.raises(ExportError, match="every gate image is undetermined"):
        gate_of(checkpoint, FLAT).judge(FP32, model)


def test_bf16_that_cannot_run_is_not_run_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, model = example("getgan-64")
    judge = gate_of(checkpoint, ("hand",))
    monkeypatch.setattr("getgan.runtime.devices.cpu_flags", lambda: (("sse2",), ""))
    record = judge.judge(BF16, model)
    assert (record.accepted, record.backend, record.images) == (False, NOT_RUN, ())
    assert "no bf16 instructions" in record.reason


@pytest.mark.parametrize("target", TARGETS, ids=LIMITS)
def test_a_graph_that_no_library_loads_is_refused_and_counts_as_tried(target: Target) -> None:
    checkpoint, model = example("getgan-64")
    judge = gate_of(checkpoint, ("hand",))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.graph.node[0].op_type = "Nonsense"
    broken = OnnxModel(proto.SerializeToString())
    record = judge.judge(target, broken)
    if target is BF16 and record.backend == NOT_RUN:
        pytest.skip(record.reason)
    assert not record.accepted and record.backend != NOT_RUN
    assert record.reason and "\n" not in record.reason


def test_a_generator_that_is_not_finite_itself() -> None:
    def burst(state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            if key.endswith("weight"):
                value.fill_(3e38)

    with pytest.raises(ExportError, match="PyTorch's own picture of 'hand' is not finite"):
        gate_of(checkpoint_of("getgan-none-batch", burst))


def test_a_fixed_size_too_small_to_judge() -> None:
    checkpoint = checkpoint_of("resnet")
    small = Contract(8, 8, 4, fixed=True)
    with pytest.raises(ExportError, match="takes 8x8 only; the gate wants 11 pixels"):
        Gate(PyTorchReference(checkpoint), small, gate_images(small), 1)


def test_pictures_too_small_for_the_perceptual_distance() -> None:
    checkpoint, model = example("getgan-64")
    small = Contract(16, 8, 4, fixed=True)
    images = [image for image in gate_images(small) if image.name == "hand"]
    record = Gate(PyTorchReference(checkpoint), small, images, 1).judge(FP32, model)
    assert record.images[0].perceptual is None
    assert record.images[0].ssim is not None


def test_gradients_are_not_kept() -> None:
    checkpoint, _ = example("getgan-64")
    assert torch.is_grad_enabled()
    gate_of(checkpoint, ("hand",))
    assert torch.is_grad_enabled()
