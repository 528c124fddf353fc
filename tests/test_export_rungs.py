"""Where the gate refuses FP16, more of the network is kept in FP32, one rung after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from export_helpers import saved

from getgan.export.bundle import ExportOptions, export_bundle
from getgan.export.fp16 import ALL_PARTS, fp16_from_fp32
from getgan.export.gate import Gate
from getgan.export.graph import model_from_proto
from getgan.export.record import VariantRecord
from getgan.export.verify import verify_bundle

RUNGS = (
    (),
    ("encoder",),
    ("encoder", "sums", "last convolution"),
    ("encoder", "sums", "last convolution", "trunk"),
)


def quiet(_what: str, _share: float) -> None:
    """No progress."""


@pytest.mark.parametrize("refusals", [1, 2, 3, 4])
def test_next_rung_is_tried(refusals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate judges as ever, and then refuses so many FP16 graphs, however good they are."""
    judge, tried = Gate.judge, []

    def strict(self: Gate, target: Any, *models: Any) -> VariantRecord:
        record = judge(self, target, *models)
        if target.name != "fp16":
            return record
        tried.append(target.plan.kept)
        reason = f"refusal {len(tried)}"
        return msgspec.structs.replace(record, accepted=len(tried) > refusals, reason=reason)

    monkeypatch.setattr(Gate, "judge", strict)
    checkpoint, output = saved(tmp_path, "resnet"), tmp_path / "net"
    report = export_bundle(checkpoint, output, ExportOptions(), quiet)
    monkeypatch.undo()
    assert tried == [(*ALL_PARTS, *more) for more in RUNGS[: refusals + 1]]
    if refusals == len(RUNGS):
        assert {each.name: each.reason for each in report.manifest.refused}["fp16"] == "refusal 1"
        assert not (output / "graphs/fp16.onnx").exists()
        return
    variant = report.manifest.variant("fp16")
    assert variant.plan.kept == tried[-1]
    assert f"refused until these were in FP32 too: {', '.join(RUNGS[refusals])}" in report.text()
    fp32 = model_from_proto(onnx.load(output / "graphs/fp32.onnx"), ["face"])
    written = (output / variant.graph).read_bytes()
    assert written == fp16_from_fp32(fp32, variant.plan.kept).data != fp16_from_fp32(fp32).data
    assert verify_bundle(output, checkpoint, quiet, 1).passed
