"""The gate accepts what gives PyTorch's pictures, refuses what does not, and says which node and how much."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from export_helpers import NETS, checkpoint_of, example, exported
from onnx import numpy_helper
from torch import Tensor

import getgan.export.fp16
from getgan.errors import ConfigError, DataError, DeviceError, ExportError
from getgan.export import backends, gate
from getgan.export.facts import contract_of
from getgan.export.fp16 import fp16_from_fp32, node_precisions
from getgan.export.gate import Gate
from getgan.export.graph import Array, OnnxModel, model_from_proto
from getgan.export.images import GOLDEN_NAMES, MAX_OWN, gate_images, judged_size
from getgan.export.record import QualityRecord, json_from_record, record_from_json
from getgan.export.trace import export_onnx
from getgan.models.checkpoint import Checkpoint
from getgan.runtime.images import write_image
from getgan.runtime.manifest import Contract
from getgan.runtime.quality import THRESHOLDS

CONTRACT = Contract(32, 8, 4)
FLAT = ("grey", "black")


def gate_of(checkpoint: Checkpoint, names: tuple[str, ...] = ("hand", "clean-1", "letterbox")) -> Gate:
    contract = contract_of(checkpoint)
    chosen = [image for image in gate_images(contract) if image.name in names]
    return Gate(checkpoint, contract, chosen, 2)


# --- pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "judged"), [(8, 32), (32, 32), (64, 64), (100, 100)])
def test_the_pictures_fit_the_contract(size: int, judged: int) -> None:
    images = gate_images(Contract(size, 8, 4))
    assert judged_size(Contract(size, 8, 4)) == judged
    assert [image.name for image in images] == [
        *("hand", "limb", "cord", "placenta", "clean-1", "clean-2"),
        *("letterbox", "noise", "contrast", "grey", "black"),
    ]
    for image in images:
        assert image.pixels.dtype == np.uint8
        height, width = image.pixels.shape[:2]
        assert height % 4 == width % 4 == 0
        assert height == judged or (image.name in FLAT and 32 <= height <= judged)
        assert image.pixels.std() > 30 or image.name in FLAT
    assert {image.name for image in images if image.golden} == set(GOLDEN_NAMES)
    again = gate_images(Contract(size, 8, 4))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(images, again, strict=True))


def test_a_fixed_contract_has_one_size_only() -> None:
    images = gate_images(Contract(48, 48, 4, fixed=True))
    assert {image.pixels.shape for image in images} == {(48, 48, 3)}


def test_own_pictures_are_resized_numbered_and_never_golden(tmp_path: Path) -> None:
    path = tmp_path / "Jane Doe.png"
    write_image(path, np.full((30, 50, 3), 9, np.uint8))
    *_, own = gate_images(CONTRACT, [path])
    assert (own.name, own.kind, own.golden, own.pixels.shape) == ("own-1", "own", False, (32, 32, 3))
    assert "Doe" not in own.about
    with pytest.raises(DataError, match="no such file"):
        gate_images(CONTRACT, [tmp_path / "gone.png"])
    with pytest.raises(ConfigError, match="found 33 own images"):
        gate_images(CONTRACT, [path] * (MAX_OWN + 1))


# --- trained networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["getgan-64", "cyclegan-64"])
def test_shipped_checkpoints_pass_in_every_precision(name: str) -> None:
    checkpoint, model = example(name)
    contract = contract_of(checkpoint)
    judge = Gate(checkpoint, contract, gate_images(contract), 2)
    fp32 = judge.judge_fp32(model)
    assert fp32.accepted, fp32.reason
    assert [(shape.batch, shape.height, shape.width) for shape in fp32.shapes] == [(2, 48, 32), (1, 8, 8)]
    fp16 = judge.judge_fp16(fp16_from_fp32(model).model, model)
    assert fp16.accepted, fp16.reason
    records = [fp32, fp16]
    bf16 = judge.judge_bf16(model)
    if not bf16.accepted:
        assert bf16.images == ()  # refused only where it cannot run
    else:
        records.append(bf16)
    for record in records:
        assert len(record.images) == 11
        unclear = [image.name for image in record.images if image.undetermined]
        assert unclear == list(FLAT)
        limit = THRESHOLDS[record.precision]
        counted = [image for image in record.images if not image.undetermined]
        figures = record.figures
        assert figures is not None
        psnrs = [image.psnr for image in counted if image.psnr is not None]
        assert figures.psnr == (min(psnrs) if psnrs else None)
        assert figures.psnr is None or figures.psnr >= limit.psnr
        assert figures.ssim == min(image.ssim for image in counted if image.ssim is not None)
        assert figures.max_error == max(image.max_error for image in counted if image.max_error is not None)
        assert all(image.perceptual is not None for image in counted)
    quality = QualityRecord(checkpoint_sha256="", limits=gate.limits(), variants=tuple(records))
    assert record_from_json(json_from_record(quality)) == quality


def test_bf16_really_differs_from_fp32() -> None:
    checkpoint, model = example("getgan-64")
    record = gate_of(checkpoint, ("hand",)).judge_bf16(model)
    if not record.images:
        pytest.skip(record.reason)
    assert record.figures is not None
    assert record.figures.max_error > 1e-3


@pytest.mark.parametrize("name", NETS)
def test_every_architecture_passes_in_fp32(name: str) -> None:
    record = gate_of(checkpoint_of(name)).judge_fp32(exported(name))
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
    record = gate_of(checkpoint).judge_fp32(wrong)
    assert not record.accepted
    assert re.search(r"max error \d\.\d+e-0\d, wanted at most 1e-04 on '\w", record.reason)
    assert record.shapes == ()


def test_a_graph_that_is_right_at_one_size_only_is_refused() -> None:
    checkpoint, model = example("getgan-64")

    class Broken:
        about = "broken"

        def __init__(self, *_: object) -> None:
            self.inner = backends.OnnxRuntimeCpu(model, 2)

        def run(self, image: Array) -> dict[str, Array]:
            found = self.inner.run(image)
            return found if len(image) == 1 else {"face": np.repeat(found["face"][:1], 2, axis=0)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "OnnxRuntimeCpu", Broken)
        record = gate_of(checkpoint).judge_fp32(model)
    assert not record.accepted
    assert re.match(r"max error .* at batch 2, 48x32, wanted at most 1e-04", record.reason)


def scale(key: str, factor: float) -> Any:
    def change(state: dict[str, Tensor]) -> None:
        state[key].mul_(factor)

    return change


def test_an_overflow_is_told_with_node_magnitude_and_image() -> None:
    # The norm behind it takes the factor away: FP32 pictures stay, FP16 overflows.
    checkpoint = checkpoint_of("getgan-1x1", scale("shared.7.weight", 3e5))
    model = export_onnx(checkpoint)
    judge = gate_of(checkpoint, ("hand", "noise"))
    assert judge.judge_fp32(model).accepted
    record = judge.judge_fp16(fp16_from_fp32(model).model, model)
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


def test_statistics_in_fp16_would_break_and_ours_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # |x| stays near 1000 in front of the norm, its square does not stay below 65504.
    checkpoint = checkpoint_of("ugatit", scale("UpBlock1_1.conv1.weight", 1000.0))
    model = export_onnx(checkpoint)
    judge = gate_of(checkpoint, ("hand",))
    assert judge.judge_fp32(model).accepted
    # An untrained net may miss 60 dB; that it is finite and close is what FP32 statistics give.
    ours = judge.judge_fp16(fp16_from_fp32(model).model, model)
    assert ours.images[0].psnr is not None and ours.images[0].psnr > 45, ours.reason
    counts = [node.name for node in model.proto.graph.node if node.op_type == "Cast"]
    monkeypatch.setattr(
        getgan.export.fp16,
        "node_precisions",
        lambda proto: {name: name not in counts for name in node_precisions(proto)},
    )
    naive = fp16_from_fp32(model).model
    record = judge.judge_fp16(naive, model)
    assert not record.accepted
    # The picture itself is finite and looks plausible: the infinite variance divides it to zero.
    assert np.isfinite(record.images[0].max_error or np.nan)
    assert re.search(r"'\S+' \(Mul\) is not finite on 'hand', where FP32 reaches", record.reason), (
        record.reason
    )


def test_lost_precision_is_told_with_the_node_that_moved() -> None:
    checkpoint, model = example("getgan-64")
    fp16 = fp16_from_fp32(model).model
    wrong = changed(fp16, "fake.0.conv_block.1.weight.fp16", lambda weight: weight * np.float16(1.5))
    wrong = changed(wrong, "fake.0.conv_block.1.weight.fp16", lambda weight: weight + np.float16(0.01))
    record = gate_of(checkpoint).judge_fp16(wrong, model)
    assert not record.accepted
    found = re.search(r"'(\S+)' \(Conv\) has moved by [\d.]+% on '\w", record.reason)
    assert found, record.reason
    node = next(node for node in model.proto.graph.node if node.name == found[1])
    assert node.input[1] == "fake.0.conv_block.1.weight"


def test_a_picture_that_is_not_finite_counts_even_where_none_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint, model = example("getgan-64")
    judge = gate_of(checkpoint, ("hand", "black"))
    assert judge.judge_fp32(model).accepted
    fp16 = fp16_from_fp32(model).model
    real = backends.RoundedFp16.run

    def broken(self: backends.RoundedFp16, image: Array) -> dict[str, Array]:
        found = real(self, image)
        if image.std() == 0:
            found["face"][0, 0, 0, 0] = np.nan
        return found

    assert judge.judge_fp16(fp16, model).accepted
    monkeypatch.setattr(backends.RoundedFp16, "run", broken)
    record = judge.judge_fp16(fp16, model)
    assert not record.accepted
    assert "of the output is NaN or infinite on 'black'" in record.reason


def test_nothing_but_flat_pictures_proves_nothing() -> None:
    checkpoint, model = example("getgan-64")
    with pytest.raises(ExportError, match="every gate image is undetermined"):
        gate_of(checkpoint, FLAT).judge_fp32(model)


def test_bf16_that_cannot_run_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, model = example("getgan-64")
    judge = gate_of(checkpoint, ("hand",))

    def missing(*_: object) -> None:
        raise DeviceError("no such CPU")

    monkeypatch.setattr(gate, "OpenVinoBf16", missing)
    record = judge.judge_bf16(model)
    assert (record.accepted, record.reason, record.images) == (False, "no such CPU", ())
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    assert "OpenVINO is not installed" in judge.judge_bf16(model).reason


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
        Gate(checkpoint, small, gate_images(small), 1)


def test_pictures_too_small_for_the_perceptual_distance() -> None:
    checkpoint, model = example("getgan-64")
    small = Contract(16, 8, 4, fixed=True)
    images = [image for image in gate_images(small) if image.name == "hand"]
    record = Gate(checkpoint, small, images, 1).judge_fp32(model)
    assert record.images[0].perceptual is None
    assert record.images[0].ssim is not None


def test_gradients_are_not_kept() -> None:
    checkpoint, _ = example("getgan-64")
    assert torch.is_grad_enabled()
    gate_of(checkpoint, ("hand",))
    assert torch.is_grad_enabled()
