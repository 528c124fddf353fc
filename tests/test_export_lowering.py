"""Layers that the graph has in another form: fewer products, the same picture."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from export_helpers import run_graph
from torch import nn

from getgan.export.features import bottleneck
from getgan.export.lowering import lower
from getgan.export.trace import export_onnx
from getgan.models.animegan import AnimeGanConfig
from getgan.models.blocks import ImageConv2d, ResizeConv2d
from getgan.models.checkpoint import Checkpoint, Provenance
from getgan.models.generator import Generator, GeneratorConfig
from getgan.models.getgan import GetGanConfig
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig
from getgan.models.transformernet import TransformerNetConfig
from getgan.models.ugatit import UgatitConfig
from getgan.models.unet import UnetConfig

# The architecture, and how many doublings and last convolutions change in it.
COARSE = GetGanConfig(widths=(6, 8, 10, 12), shared_blocks=1, branch_blocks=1, up="resize")
LOWERED: dict[str, tuple[str, GeneratorConfig, int, int]] = {
    "getgan": ("getgan", COARSE, 6, 2),
    "transposed": ("getgan", GetGanConfig(ngf=6, shared_blocks=1, branch_blocks=1), 0, 2),
    "resize": ("resnet", ResnetConfig(ngf=6, blocks=1, up="resize"), 2, 1),
    "upsample": ("resnet", ResnetConfig(ngf=6, blocks=1, up="upsample"), 2, 1),
    "upsample-pad": ("resnet", ResnetConfig(ngf=6, blocks=1, up="upsample-pad"), 2, 1),
    "bilinear": ("resnet", ResnetConfig(ngf=6, blocks=1, up="upsample", interpolation="bilinear"), 0, 1),
    "blur": ("resnet", ResnetConfig(ngf=6, blocks=1, up="blur"), 0, 1),
    "ugatit": ("ugatit", UgatitConfig(ngf=6, blocks=1), 2, 1),
    "transformernet": ("transformernet", TransformerNetConfig(ngf=6, blocks=1), 2, 1),
    "stride": ("resnet", ResnetConfig(widths=(6, 8), stride=2, blocks=1, up="resize"), 1, 0),
    "one channel": ("resnet", ResnetConfig(widths=(6, 8), stride=2, blocks=1, out_channels=1), 0, 0),
    "animegan": ("animegan", AnimeGanConfig(ngf=6), 0, 0),
    "unet": ("unet", UnetConfig(ngf=4), 0, 0),
    "thin": ("resnet", ResnetConfig(ngf=4, blocks=1), 0, 0),
}


def generator_of(arch: str, config: GeneratorConfig) -> Generator:
    torch.manual_seed(0)
    return build_generator(arch, config).eval()


def image_of(generator: Generator, height: int, width: int) -> torch.Tensor:
    least, (low, high) = generator.min_size, generator.value_range
    return torch.empty(2, 3, max(height, least), max(width, least)).uniform_(low, high)


@pytest.mark.parametrize("name", LOWERED)
def test_a_lowered_network_gives_the_same(name: str) -> None:
    arch, config, doublings, last = LOWERED[name]
    plain = generator_of(arch, config).double()
    lowered = copy.deepcopy(plain)
    lower(lowered, plain.multiple_of)
    kinds = [type(module).__name__ for module in lowered.modules()]
    assert (kinds.count("_Doubling"), kinds.count("PixelShuffle")) == (doublings, last)
    image = image_of(plain, 48, 64).double()
    with torch.no_grad():
        wanted, found = (net.answer(image, plain.outputs) for net in (plain, lowered))
    for output, value in wanted.items():
        assert torch.allclose(found[output], value, rtol=0, atol=1e-7), output


def test_an_odd_size_keeps_the_last_convolution() -> None:
    plain = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(8, 3, 7))
    lower(plain, 1)
    assert type(plain[1]) is nn.Conv2d


def test_the_graph_has_no_doubling_left_and_gives_the_same() -> None:
    arch, config, *_ = LOWERED["getgan"]
    generator = generator_of(arch, config)
    state = {key: value.clone() for key, value in generator.state_dict().items()}
    model = export_onnx(Checkpoint(arch, config, state, generator.contract(64), Provenance()))
    kinds = {node.op_type for node in model.proto.graph.node}
    assert "Resize" not in kinds and {"ConvTranspose", "DepthToSpace"} <= kinds
    image = image_of(generator, 48, 64)
    with torch.no_grad():
        wanted = generator.translate(image)
    found = torch.from_numpy(run_graph(model, image.numpy())["face"])
    assert (found - wanted).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("layer", "height", "width"),
    [
        (ResizeConv2d(5, 7, bias=True), 6, 8),
        (ResizeConv2d(5, 7, bias=False), 1, 3),
        (ImageConv2d(3, 7, 7), 16, 18),
        (ImageConv2d(7, 3, 7, bias=False), 8, 12),
        (ImageConv2d(3, 7, 7), 15, 18),  # odd, so as it is
        (ImageConv2d(3, 7, 7, stride=2), 16, 18),
    ],
)
def test_a_layer_learns_the_same_in_training_mode(layer: nn.Module, height: int, width: int) -> None:
    """There it is computed in another way; the picture and both gradients are those of eval mode."""
    layer = copy.deepcopy(layer).double()
    torch.manual_seed(0)
    channels: Any = layer.in_channels
    image = torch.randn(2, channels, height, width, dtype=torch.float64, requires_grad=True)
    parameters = [image, *layer.parameters()]
    results = []
    for training in (True, False):
        out = layer.train(training)(image)
        weights = torch.arange(out.numel(), dtype=torch.float64).sin().reshape(out.shape)
        results.append([out, *torch.autograd.grad((out * weights).sum(), parameters)])
    for found, wanted in zip(*results, strict=True):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-10)


def test_the_guard_looks_at_the_trunk_of_a_network_of_two_levels() -> None:
    """Four pixels at once are as small as it, and behind it."""
    config = GetGanConfig(widths=(6, 8), shared_blocks=1, branch_blocks=1, up="resize")
    generator = generator_of("getgan", config)
    state = {key: value.clone() for key, value in generator.state_dict().items()}
    model = export_onnx(Checkpoint("getgan", config, state, generator.contract(64), Provenance()))
    name, channels = bottleneck(model.proto, 64)
    assert channels == 8 and name.startswith("add")


def test_a_graph_of_a_network_in_training_mode_is_plain() -> None:
    """What is recorded must not depend on the mode that the network was in."""
    layer = ResizeConv2d(5, 7, bias=True).train()
    graph = torch.export.export(layer, (torch.zeros(1, 5, 4, 4),))
    assert not any("transpose" in str(node.target) for node in graph.graph.nodes)
