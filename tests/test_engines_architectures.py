"""Every architecture that is exported becomes a real engine: fp32, fp16, and fp16 with 8-bit frames."""

from __future__ import annotations

from dataclasses import fields

import pytest
from engine_helpers import needs_rtx
from export_helpers import NETS, checkpoint_of, exported

from getgan.export.fp16 import fp16_from_fp32
from getgan.export.frames import frames_from_tensors
from getgan.export.trace import export_onnx
from getgan.models.catalog import ARCHITECTURES
from getgan.models.checkpoint import Checkpoint, Provenance
from getgan.models.generator import Generator
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig
from getgan.runtime.engines.adapter import TensorRt
from getgan.runtime.engines.fingerprint import Profile, Settings
from getgan.runtime.engines.proof import prove

pytestmark = needs_rtx

TINY = {"ngf": 2, "blocks": 1, "depth": 5}


def net_of(architecture: type[Generator]) -> str:
    """The first of NETS of this architecture; one is made where there is none."""
    found = next((name for name in NETS if name.partition("-")[0] == architecture.arch), "")
    if found:
        return found
    known = {field.name for field in fields(architecture.config_class)}
    NETS[architecture.arch] = architecture.config_class(**{k: v for k, v in TINY.items() if k in known})
    return architecture.arch


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.arch)
def test_every_architecture_becomes_an_engine(architecture: type[Generator]) -> None:
    name = net_of(architecture)
    size = checkpoint_of(name).contract.size
    rtx, shapes = TensorRt("tensorrt-rtx"), (Profile(1, size, size),)
    full = exported(name)
    half = fp16_from_fp32(full)
    wide = rtx.build(full.data, shapes, Settings(compute_capabilities=("SM86",)))
    thin = rtx.build(half.data, shapes, Settings(compute_capabilities=("SM86", "SM120")))
    frames = rtx.build(frames_from_tensors(half).data, shapes, Settings())
    assert prove(wide.layers, "fp32", "build log").share == 1.0
    # The first convolution stays in fp32, and these nets have few.
    assert prove(thin.layers, "fp16", "build log").share > 0.6
    assert prove(frames.layers, "fp16", "build log").share > 0.6


def test_weights_of_an_fp16_engine_take_half_the_room() -> None:
    """Of a net whose weights outweigh its kernels; of the small ones above the kernels are nearly all."""
    config = ResnetConfig(ngf=48, blocks=2)
    generator = build_generator("resnet", config)
    state = {key: value.clone() for key, value in generator.state_dict().items()}
    full = export_onnx(Checkpoint("resnet", config, state, generator.contract(32), Provenance()))
    half = fp16_from_fp32(full)
    saved = len(full.data) - len(half.data)
    rtx, shapes, settings = (
        TensorRt("tensorrt-rtx"),
        (Profile(1, 32, 32),),
        Settings(compute_capabilities=("SM86",)),
    )
    wide, thin = (rtx.build(model.data, shapes, settings) for model in (full, half))
    assert len(wide.plan) - len(thin.plan) > 0.8 * saved > 1_000_000
