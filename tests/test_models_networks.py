"""GET-GAN, ResNet and PatchGAN: shapes, counts, gate arithmetic, sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from getgan.errors import ConfigError
from getgan.models.blocks import Up, init_weights
from getgan.models.catalog import ARCHITECTURES
from getgan.models.generator import Generator, GeneratorConfig
from getgan.models.getgan import GetGanConfig, GetGanGenerator
from getgan.models.patchgan import PatchGan, PatchGanConfig
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.models.ugatit import UgatitConfig

GATES = ("none", "1x1", "3x3", "channel")
TINY: dict[str, GeneratorConfig] = {
    "getgan": GetGanConfig(ngf=4, shared_blocks=1, branch_blocks=1),
    "getgan-resize": GetGanConfig(ngf=4, shared_blocks=2, branch_blocks=1, up="resize", gate="channel"),
    "getgan-batch": GetGanConfig(ngf=4, shared_blocks=1, branch_blocks=2, norm="batch", gate="none"),
    "resnet": ResnetConfig(ngf=4, blocks=1),
    "resnet-resize": ResnetConfig(ngf=4, blocks=2, up="resize", norm="batch"),
    "ugatit": UgatitConfig(ngf=4, blocks=1),
    "ugatit-full": UgatitConfig(ngf=4, blocks=1, light=False, size=16),
}


def tiny(name: str, seed: int = 0) -> Generator:
    """A small generator in eval mode; noise on every weight, so that no term hides behind a zero."""
    generator = build_generator(name.partition("-")[0], TINY[name])
    random = torch.Generator().manual_seed(seed)
    for parameter in generator.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=random)
    return generator.eval()


def image(size: int, batch: int = 2, seed: int = 0) -> Tensor:
    """Random (N, 3, size, size) float32 in [-1, 1]."""
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", TINY)
def test_translate_keeps_shape_and_range(name: str) -> None:
    x = image(16)
    y = tiny(name).translate(x).detach()
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert -1 <= y.min() < y.max() <= 1
    assert y[0].sub(y[1]).abs().max() > 1e-3  # the input matters


@pytest.mark.parametrize(
    ("config", "count", "keys"),
    [
        (ResnetConfig(), 11_378_179, 48),
        (ResnetConfig(blocks=6), 7_837_699, 36),
        (ResnetConfig(norm="batch"), 11_383_427, 140),
    ],
)
def test_resnet_is_the_public_one(config: ResnetConfig, count: int, keys: int) -> None:
    with torch.device("meta"):
        net = ResnetGenerator(config)
    state = net.state_dict()
    assert (parameters(net), len(state)) == (count, keys)
    assert state["model.1.weight"].shape == (64, 3, 7, 7)
    assert state["model.10.conv_block.5.weight"].shape == (256, 256, 3, 3)
    assert state[f"model.{10 + config.blocks}.weight"].shape == (256, 128, 3, 3)
    assert state[f"model.{17 + config.blocks}.weight"].shape == (3, 64, 7, 7)


def test_getgan_counts() -> None:
    with torch.device("meta"):
        net, resnet = GetGanGenerator(), ResnetGenerator()
    # Shared part and one branch are a ResNet-9 cut in two; gate is a 1x1 convolution with bias.
    assert parameters(net.shared) + parameters(net.fake) == parameters(resnet)
    assert parameters(net.error) == parameters(net.fake)
    assert net.gate is not None
    assert parameters(net.gate) == 256 * 256 + 256


def test_patchgan_is_the_public_one() -> None:
    net = PatchGan()
    assert parameters(net) == 2_764_737
    assert net.state_dict()["model.11.weight"].shape == (1, 512, 4, 4)
    assert net(image(64, 1)).shape == (1, 1, 6, 6)


def test_patchgan_sees_70_pixels() -> None:
    # Without normalisation, which would spread the gradient over the whole image.
    net = PatchGan(PatchGanConfig(ndf=2, norm="none"))
    x = image(128, 1).requires_grad_()
    net(x)[0, 0, 7, 7].backward()
    assert x.grad is not None
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert int(rows[-1] - rows[0]) + 1 == 70


def test_patchgan_smallest_size() -> None:
    net = PatchGan(PatchGanConfig(ndf=2))
    assert net(image(net.min_size)).shape == (2, 1, 1, 1)
    with pytest.raises(ConfigError, match=r"image is 20x20; .* wants at least 24"):
        net(image(net.min_size - 4))


@pytest.mark.parametrize("gate", GATES)
def test_gate_arithmetic(gate: str) -> None:
    net = GetGanGenerator(GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=1, gate=gate))  # type: ignore[arg-type]
    net = net.double()
    init_weights(net, torch.Generator().manual_seed(0))
    if net.gate is not None:
        torch.nn.init.normal_(net.gate.weight, std=2.0, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(net.gate.bias, generator=torch.Generator().manual_seed(2))  # type: ignore[arg-type]
    seen: dict[str, np.ndarray] = {}
    # The hooks keep each branch's own input, and the shared output before anything could change it.
    net.shared.register_forward_hook(lambda _m, _i, out: seen.__setitem__("x_f", out.detach().numpy().copy()))
    for name in ("fake", "error"):
        net.get_submodule(name).register_forward_pre_hook(
            lambda _m, args, name=name: seen.__setitem__(name, args[0].detach().numpy().copy())
        )
    out = net(image(16).double())
    x_f = seen["x_f"]
    if net.gate is None:
        assert out.gate is None
        np.testing.assert_array_equal(seen["fake"], x_f)
        np.testing.assert_array_equal(seen["error"], x_f)
        return
    s = 1 / (1 + np.exp(-_convolved(x_f, net.gate)))
    assert s.shape == ((2, 1, 4, 4) if gate == "channel" else (2, 8, 4, 4))
    assert s.std() > 0.05  # a gate stuck at one half would prove little
    assert out.gate is not None
    np.testing.assert_allclose(out.gate.detach().numpy(), s, rtol=1e-12)
    np.testing.assert_allclose(seen["fake"], s * x_f, rtol=1e-12)
    np.testing.assert_allclose(seen["error"], (1 - s) * x_f, rtol=1e-10)


def _convolved(x: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """A zero-padded convolution written out, (N, C, h, w) -> (N, out, h, w)."""
    assert conv.bias is not None
    weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[2:]
    total = np.zeros((x.shape[0], weight.shape[0], height, width), x.dtype) + bias[:, None, None]
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            part = padded[:, :, i : i + height, j : j + width]
            total += np.einsum("oc,nchw->nohw", weight[:, :, i, j], part)
    return np.asarray(total)


@pytest.mark.parametrize("name", ["getgan", "getgan-resize", "getgan-batch"])
def test_translate_is_y_star_without_the_error_branch(name: str) -> None:
    net = tiny(name)
    assert isinstance(net, GetGanGenerator)
    calls: list[nn.Module] = []
    for module in net.error.modules():
        module.register_forward_pre_hook(lambda m, _args: calls.append(m))
    x = image(16)
    alone = net.translate(x)
    assert calls == []
    out = net(x)
    assert calls
    assert torch.equal(alone, out.y_star)
    assert not torch.equal(out.y_star, out.y_error)


@pytest.mark.parametrize("name", TINY)
def test_smallest_size(name: str) -> None:
    net = tiny(name)
    assert net.translate(image(net.min_size)).shape == (2, 3, net.min_size, net.min_size)
    with pytest.raises(ConfigError, match=f"image is .*; wanted .*at least {net.min_size}"):
        net.translate(image(net.min_size - 4))
    with pytest.raises(ConfigError, match="multiples of 4"):
        net.translate(image(net.min_size + 2))
    with pytest.raises(ConfigError, match=r"shape \(2, 1, 16, 16\); wanted \(N, 3, H, W\)"):
        net.translate(image(16)[:, :1])


@pytest.mark.parametrize("name", ["getgan", "getgan-resize", "resnet", "resnet-resize", "ugatit"])
def test_traced_at_one_size_it_runs_at_another(name: str) -> None:
    class Translate(nn.Module):
        def __init__(self, net: Generator) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net.translate(x)

    net = tiny(name)
    dims = {"x": {2: 4 * torch.export.Dim("h", min=3, max=64), 3: 4 * torch.export.Dim("w", min=3, max=64)}}
    program = torch.export.export(Translate(net), (image(16),), dynamic_shapes=dims)
    torch.testing.assert_close(program.module()(image(24)), net.translate(image(24)))


def test_resize_has_no_checkerboard() -> None:
    # Constant weights: a transposed convolution then overlaps unevenly, resize + convolution does not.
    spread = {}
    choices: tuple[Up, ...] = ("transposed", "resize")
    for up in choices:
        net = ResnetGenerator(ResnetConfig(ngf=4, blocks=1, up=up)).double()
        layer = net.model[11]
        layer.get_parameter("weight").data.fill_(0.1)
        for training in (True, False):  # computed in two ways
            out = layer.train(training)(torch.ones(1, 16, 8, 8, dtype=torch.float64)).detach()
            assert out.shape == (1, 8, 16, 16)
            spread[up, training] = float(out[..., 2:-2, 2:-2].std(dim=(2, 3)).max())
    assert min(spread["transposed", True], spread["transposed", False]) > 0.1
    assert max(spread["resize", True], spread["resize", False]) < 1e-12


def test_init_weights_is_seeded_and_cyclegans() -> None:
    config = GetGanConfig(ngf=16, norm="batch", shared_blocks=1, branch_blocks=1)
    nets = [GetGanGenerator(config) for _ in range(2)]
    for net in nets:
        init_weights(net, torch.Generator().manual_seed(7))
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[key], second[key]) for key in first)
    conv, norm = nets[0].shared[4], nets[0].shared[5]
    assert isinstance(conv, nn.Conv2d)
    assert float(conv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(norm.weight.detach().mean()) == pytest.approx(1.0, abs=0.02)  # type: ignore[operator]
    assert float(nets[0].fake[-2].bias.detach().abs().max()) == 0.0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (GetGanConfig, {"ngf": 0}, "ngf is 0; wanted an integer from 1"),
        (GetGanConfig, {"gate": "5x5"}, "gate is '5x5'; wanted one of none, 1x1, 3x3, channel"),
        (ResnetConfig, {"blocks": 10**9}, "wanted an integer from 1 to 64"),
        (ResnetConfig, {"norm": "layer"}, "norm is 'layer'"),
        (PatchGanConfig, {"layers": True}, "layers is True"),
        (UgatitConfig, {"size": 30}, "size is 30; wanted a multiple of 4"),
    ],
)
def test_impossible_configs(kind: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**options)


def test_catalog_builds_what_it_lists() -> None:
    for kind in ARCHITECTURES:
        with torch.device("meta"):
            assert type(build_generator(kind.arch, kind.config_class())) is kind
    with pytest.raises(ConfigError, match="'pix2pix'; wanted one of getgan, resnet, unet, ugatit"):
        build_generator("pix2pix", ResnetConfig())
    with pytest.raises(ConfigError, match="'getgan' got a ResnetConfig; wanted a GetGanConfig"):
        build_generator("getgan", ResnetConfig())
