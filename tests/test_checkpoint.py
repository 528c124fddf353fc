"""The checkpoint file: what is saved is what is loaded, and every bad file gets one clear line."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from getgan import __version__
from getgan.contract import Contract
from getgan.errors import CheckpointError, ConfigError, OutputError
from getgan.models.checkpoint import (
    Checkpoint,
    Provenance,
    _check,
    load_checkpoint,
    save_checkpoint,
)
from getgan.models.generator import GeneratorConfig
from getgan.models.getgan import GetGanConfig
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig
from getgan.models.ugatit import UgatitConfig
from getgan.models.unet import UnetConfig
from getgan.models.weightfile import MAX_HEADER_BYTES

NETS: dict[str, GeneratorConfig] = {
    "getgan": GetGanConfig(ngf=2, shared_blocks=2, branch_blocks=1),
    "getgan-none": GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=2, gate="none", norm="batch"),
    "getgan-3x3": GetGanConfig(ngf=2, shared_blocks=1, branch_blocks=1, gate="3x3", up="resize"),
    "getgan-channel": GetGanConfig(ngf=1, shared_blocks=1, branch_blocks=1, gate="channel"),
    "resnet": ResnetConfig(ngf=2, blocks=2),
    "resnet-batch": ResnetConfig(ngf=2, blocks=1, norm="batch", up="resize"),
    "ugatit": UgatitConfig(ngf=2, blocks=1),
    "ugatit-full": UgatitConfig(ngf=2, blocks=2, light=False, size=16),
}
SUFFIXES = (".safetensors", ".pt", ".pth")
PROVENANCE = Provenance(
    trained_on="synthetic faces",
    iterations=7,
    seed=3,
    config_toml='a = "ü"\n',
    created="2024-05-01T10:00:00Z",
)


def _checkpoint(name: str = "getgan") -> Checkpoint:
    arch = name.partition("-")[0]
    torch.manual_seed(0)
    generator = build_generator(arch, NETS[name])
    for key, buffer in generator.named_buffers():
        if key.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    contract = generator.contract(16)
    return Checkpoint(arch, NETS[name], generator.state_dict(), contract, PROVENANCE)


def _saved(tmp_path: Path, name: str = "getgan", suffix: str = ".safetensors") -> Path:
    path = tmp_path / f"net{suffix}"
    save_checkpoint(_checkpoint(name), path)
    return path


def _image() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _error(path: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", NETS)
def test_round_trip_is_bit_equal(tmp_path: Path, name: str, suffix: str) -> None:
    before = _checkpoint(name)
    path = tmp_path / f"net{suffix}"
    sha256 = save_checkpoint(before, path)
    after = load_checkpoint(path, expect=before.arch)
    assert sha256 == after.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (after.arch, after.config, after.contract) == (before.arch, before.config, before.contract)
    assert after.provenance == PROVENANCE
    assert after.provenance.config_sha256 == hashlib.sha256('a = "ü"\n'.encode()).hexdigest()
    assert after.state.keys() == before.state.keys()
    assert all(torch.equal(after.state[key], before.state[key]) for key in before.state)
    source = build_generator(before.arch, before.config).eval()
    source.load_state_dict(dict(before.state))
    with torch.no_grad():
        assert torch.equal(after.generator().translate(_image()), source.translate(_image()))
        assert torch.equal(before.generator().translate(_image()), source.translate(_image()))


def test_generator_is_a_copy_in_eval_mode_and_draws_nothing(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(_saved(tmp_path, "getgan-none"))
    random = torch.get_rng_state()
    generator = checkpoint.generator()
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module.training for module in generator.modules())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    before = {key: value.clone() for key, value in checkpoint.state.items()}
    for tensor in generator.state_dict().values():
        tensor.zero_()
    assert all(torch.equal(checkpoint.state[key], value) for key, value in before.items())


def test_generator_of_a_hand_made_checkpoint_is_strict() -> None:
    good = _checkpoint()
    short = {key: value for key, value in good.state.items() if key != "gate.bias"}
    with pytest.raises(RuntimeError, match=r"Missing key.*gate\.bias"):
        dataclasses.replace(good, state=short).generator()


def test_saving_is_reproducible_and_takes_odd_layouts(tmp_path: Path) -> None:
    checkpoint = _checkpoint()
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    odd = {key: value.clone(memory_format=torch.preserve_format) for key, value in checkpoint.state.items()}
    key = "shared.4.weight"
    odd[key] = odd[key].to(memory_format=torch.channels_last).requires_grad_()
    assert save_checkpoint(checkpoint, first) == save_checkpoint(
        dataclasses.replace(checkpoint, state=odd), second
    )


def test_metadata_is_one_document(tmp_path: Path) -> None:
    with safetensors.safe_open(_saved(tmp_path), framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"getgan"}
    document = json.loads(metadata["getgan"])
    assert document["version"] == 1
    assert document["arch"] == "getgan"
    assert document["config"]["gate"] == "1x1"
    assert document["contract"] == {
        "size": 16,
        "channels": "RGB",
        "range": [-1.0, 1.0],
        "multiple_of": 4,
        "min_size": 8,
    }
    assert document["provenance"]["getgan_version"] == __version__


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", [name for name in NETS if not name.startswith("ugatit")])
def test_bare_state_dict_is_recognised(tmp_path: Path, name: str, suffix: str) -> None:
    known = _checkpoint(name)
    path = tmp_path / f"latest_net_G{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(dict(known.state), path)
    else:
        torch.save(known.state, path)
    found = load_checkpoint(path)
    assert (found.arch, found.config) == (known.arch, known.config)
    assert found.contract.size == 256
    notes = found.provenance.notes
    assert notes.startswith("bare state dict; assumed: ") and "size=256; RGB in [-1, 1]" in notes
    assert torch.equal(found.generator().translate(_image()), known.generator().translate(_image()))


def test_full_size_cyclegan_file_is_recognised(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = build_generator("resnet", ResnetConfig()).state_dict()
    zeros = {key: torch.zeros(value.shape) for key, value in state.items()}
    torch.save(zeros, tmp_path / "latest_net_G_A.pth")
    assert load_checkpoint(tmp_path / "latest_net_G_A.pth").config == ResnetConfig()


# --- bad files ---


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert _error(tmp_path / "no.safetensors") == "no such file; wanted a checkpoint"
    _saved(tmp_path)
    assert _error(tmp_path / "no.pt").endswith(f": pass one of net.safetensors in {tmp_path}")
    assert "found a folder" in _error(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_empty_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.touch()
    assert _error(path).startswith("found an empty file")


def test_other_suffix(tmp_path: Path) -> None:
    (tmp_path / "net.ckpt").write_bytes(_saved(tmp_path, suffix=".pt").read_bytes())
    assert load_checkpoint(tmp_path / "net.ckpt").arch == "getgan"  # the content tells
    (tmp_path / "net.bin").write_bytes(_saved(tmp_path).read_bytes())
    assert load_checkpoint(tmp_path / "net.bin").arch == "getgan"
    with pytest.raises(CheckpointError, match=r"cannot save .*/net: found the suffix 'none'"):
        save_checkpoint(_checkpoint(), tmp_path / "net")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    path.chmod(0)
    assert "cannot be read (Permission denied)" in _error(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_truncation_anywhere_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = _saved(tmp_path, suffix=suffix)
    data = path.read_bytes()
    for length in [1, 7, 8, 9, 100, *range(200, len(data), len(data) // 20), len(data) - 1]:
        path.write_bytes(data[:length])
        message = _error(path)
        assert "copy" in message
    if suffix == ".safetensors":
        assert (
            message == f"file is cut off: found {len(data) - 1:,} bytes, wanted {len(data):,}; copy it again"
        )


def test_bytes_that_are_no_checkpoint(tmp_path: Path) -> None:
    for suffix in (".safetensors", ".pt"):
        path = tmp_path / f"net{suffix}"
        for data in (b"hello", b"<!DOCTYPE html><html>404</html>", bytes(1000), bytes(range(256)) * 9):
            path.write_bytes(data)
            assert "copy" in _error(path)
    path = tmp_path / "net.safetensors"
    torch.save({}, path)
    assert _error(path).endswith("rename it to .pt")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{" + b" " * 30, "found a damaged safetensors header"),
        (b"{" + b'"a":' + b"[" * 100_000, "found a damaged safetensors header"),
        (b'{"a":{"dtype":"F32"}}', "found a damaged safetensors header"),
        (
            b'{"__metadata__":null,"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            "found a state dict with keys a",
        ),
        (
            b'{"__metadata__":[],"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            "found damaged safetensors (",
        ),
        (
            b"{" + b",".join(b'"%d":0' % n for n in range(5000)) + b"}",
            "found 5,000 tensors; wanted at most 4,096",
        ),
        (
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}' + b" " * 10,
            "found damaged safetensors (",
        ),
        (
            b'{"a":{"dtype":"X99","shape":[1],"data_offsets":[0,4]}}' + b" " * 10,
            "found damaged safetensors (",
        ),
    ],
)
def test_damaged_header(tmp_path: Path, header: bytes, message: str) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert message in _error(path)


def test_header_size_is_capped_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 1 << 40) + b"{")
        file.truncate(1 << 41)  # sparse: two terabytes that nobody may read
    wanted = f"wanted at most {MAX_HEADER_BYTES:,}"
    assert wanted in _error(path)
    long = dataclasses.replace(PROVENANCE, config_toml="x" * MAX_HEADER_BYTES)
    with pytest.raises(CheckpointError, match=r"shorten provenance\.config_toml"):
        save_checkpoint(dataclasses.replace(_checkpoint(), provenance=long), tmp_path / "long.safetensors")


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with open(path, "wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(1 << 41)  # sparse: two terabytes that nobody may read
    assert _error(path) == "found 2,199,023,255,552 bytes; wanted at most 8,589,934,592"


def test_a_network_that_would_work_for_minutes_on_one_picture_is_refused(tmp_path: Path) -> None:
    config = GetGanConfig(ngf=32, shared_blocks=32, branch_blocks=1)
    generator = build_generator("getgan", config)
    path = tmp_path / "net.safetensors"
    contract = generator.contract(2048)
    with pytest.raises(CheckpointError, match=r"found a network with 2,6.. GMAC for a picture of 2048x2048"):
        save_checkpoint(Checkpoint("getgan", config, generator.state_dict(), contract, PROVENANCE), path)
    contract = generator.contract(256)
    save_checkpoint(Checkpoint("getgan", config, generator.state_dict(), contract, PROVENANCE), path)
    assert load_checkpoint(path).contract.size == 256


def test_a_unet_that_works_on_small_pictures_mostly_is_taken() -> None:
    def check(config: UnetConfig, size: int) -> None:
        with torch.device("meta"):
            net = build_generator("unet", config)
        _check(Checkpoint("unet", config, net.state_dict(), net.contract(size), PROVENANCE))

    check(UnetConfig(), 1024)  # 97 GMAC, and 3,600 if each convolution ran at a quarter of the size
    with pytest.raises(CheckpointError, match=r"a network with 2,\d{3} GMAC for a picture of 2048x2048"):
        check(UnetConfig(ngf=160), 2048)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bare_state_dict_of_two_thousand_blocks(tmp_path: Path, suffix: str) -> None:
    state = _checkpoint("resnet").state
    deep = {f"model.{number}.conv_block.1.weight": torch.zeros(1) for number in range(10, 2010)}
    path = tmp_path / f"net{suffix}"
    tail = {key.replace("model.19", "model.2017"): value for key, value in state.items() if "model.19" in key}
    up = {"model.2010.weight": torch.zeros(8, 4, 3, 3)}
    down = {key: state[key] for key in ("model.1.weight", "model.4.weight", "model.7.weight")}
    content = {**deep, **tail, **up, **down}
    if suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    assert _error(path) == "ResnetConfig.blocks is 2000; wanted an integer from 1 to 64"


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    if legacy:
        path.write_bytes(pickle.dumps({"state": _Evil()}, protocol=2))
    else:
        torch.save({"state": _Evil()}, path)
    message = _error(path)
    assert message.startswith("found a pickle that runs code (posix.mkdir); wanted plain tensors: ")
    assert not (tmp_path / "evil").exists()
    torch.save(torch.nn.Linear(1, 1), path)  # a whole module: the common honest case
    whole = "found a whole pickled object, not its weights (torch.nn.modules.linear.Linear); wanted"
    assert _error(path).startswith(whole)


@pytest.mark.parametrize("content", [[1, 2], "text", 3, torch.zeros(2)])
def test_pickle_of_something_else(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pt")
    assert (
        f"found a {type(content).__name__}; wanted the state dict of a generator (getgan, resnet"
        in _error(tmp_path / "net.pt")
    )


def test_pickle_of_unknown_contents(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"epoch": 3, "model": {"w": torch.zeros(2)}, "lr": 0.1, "step": 9}, path)
    message = _error(path)
    assert message.startswith("found a state dict with keys model.w; wanted the state dict of a generator")
    assert message.endswith("(in a training state with epoch, lr, model and 1 more)")
    torch.save({"a\nb": torch.zeros(1), "b": torch.zeros(1)}, path)
    assert _error(path).startswith(
        r"found a state dict with keys 'a\nb', b; wanted the state dict of a generator"
    )
    torch.save({}, path)
    assert _error(path).startswith("found none, and no tensor among them; wanted the state dict")


def test_training_state_by_mistake(tmp_path: Path) -> None:
    path = tmp_path / "net.state.pt"
    torch.save({"getgan_training_state": 1, "optimizer": {}}, path)
    start = "found a training state, which is for resuming a run; wanted the generator's checkpoint"
    assert _error(path) == start
    save_checkpoint(_checkpoint(), tmp_path / "other.safetensors")
    assert _error(path) == f"{start}: pass one of other.safetensors in {tmp_path}"
    _saved(tmp_path)
    assert _error(path) == f"{start}: pass net.safetensors"
    torch.save({"getgan_training_state": 1, "random": _Evil()}, path)  # by name, when it cannot be opened
    assert _error(path) == f"{start}: pass net.safetensors"
    path.rename(tmp_path / "net.pt")
    torch.save({"getgan_training_state": 1}, tmp_path / "net.pt")
    assert _error(tmp_path / "net.pt").startswith(start)


def _edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The file with its metadata document changed."""
    state = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["getgan"])
    edit(document)
    safetensors.torch.save_file(state, path, {"getgan": json.dumps(document)})
    return path


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda d: d.update(version=2),
            f"version 2; wanted at most 1, this is getgan {__version__}: pip install",
        ),
        (lambda d: d.update(version="1"), "found metadata version '1'; wanted a whole number"),
        (lambda d: d.pop("version"), "found damaged getgan metadata"),
        (lambda d: d.update(arch="pix2pix"), "architecture 'pix2pix'; wanted one of getgan, resnet, unet"),
        (lambda d: d.update(arch=["getgan"]), "found architecture ['getgan']; wanted"),
        (lambda d: d.pop("config"), "found NoneType as GetGanConfig; wanted an object"),
        (lambda d: d["config"].pop("gate"), "GetGanConfig with missing or unknown fields (gate)"),
        (lambda d: d["config"].update(extra=1), "GetGanConfig with missing or unknown fields (extra)"),
        (lambda d: d["config"].update(ngf=2.0), "found GetGanConfig.ngf = 2.0; wanted a int"),
        (lambda d: d["config"].update(ngf=-1), "GetGanConfig.ngf is -1; wanted an integer"),
        (lambda d: d["config"].update(gate="5x5"), "GetGanConfig.gate is '5x5'"),
        (lambda d: d["config"].update(in_channels=1), "found 1 -> 3 channels; wanted 3 -> 3 (RGB)"),
        (
            lambda d: d["contract"].update(range=[0.0, 1.0]),
            "contract.range = [0.0, 1.0]; wanted [-1.0, 1.0] for this getgan",
        ),
        (lambda d: d["contract"].update(channels="BGR"), "contract.channels = 'BGR'; wanted 'RGB'"),
        (lambda d: d["contract"].update(fixed=True), "contract with missing or unknown fields (fixed)"),
        (lambda d: d["contract"].pop("range"), "contract with missing or unknown fields (range)"),
        (lambda d: d["contract"].update(size=16.0), "wanted an object with a whole size"),
        (lambda d: d.update(contract=[16]), "found the contract [16]; wanted an object with a whole size"),
        (lambda d: d["contract"].update(size=17), "found contract.size 17; wanted a multiple of 4"),
        (lambda d: d["contract"].update(min_size=4), "contract.min_size = 4; wanted 8 for this getgan"),
        (lambda d: d["contract"].update(multiple_of=2), "contract.multiple_of = 2; wanted 4 for this getgan"),
        (lambda d: d["config"].update(widths=7), "found GetGanConfig.widths = 7; wanted a tuple"),
        (lambda d: d["config"].update(widths=[8, 4]), "widths are (8, 4); wanted 2 to 7 integers"),
        (lambda d: d["provenance"].update(seed="x"), "found Provenance.seed = 'x'; wanted a int"),
        (lambda d: d["contract"].update(size=2052), "found contract.size 2052; wanted at most 2048"),
        (
            lambda d: d["contract"].update(size=4_000_000_000),
            "found contract.size 4000000000; wanted at most",
        ),
        (
            lambda d: d["contract"].update(size=4 * 10**30),
            "found contract.size 4" + 30 * "0",
        ),
        (lambda d: d["provenance"].update(iterations=10**30), "found Provenance.iterations with 31 digits"),
        (lambda d: d["provenance"].update(notes="\ud800"), "found Provenance.notes with broken Unicode"),
        (
            lambda d: d["provenance"].update(config_toml="\udcff"),
            "Provenance.config_toml with broken Unicode",
        ),
        (
            lambda d: d["config"].update(shared_blocks=65),
            "shared_blocks is 65; wanted an integer from 1 to 64",
        ),
        (lambda d: d["config"].update(ngf=10**100), "found GetGanConfig.ngf with 101 digits"),
    ],
)
def test_bad_metadata(tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    assert message in _error(_edited(_saved(tmp_path), edit))


def test_damaged_metadata(tmp_path: Path) -> None:
    for text in ("", "{", "[]", "null", "[" * 100_000):
        path = tmp_path / "net.safetensors"
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"getgan": text})
        assert "found damaged getgan metadata; copy the file again" in _error(path)
        torch.save({"getgan": text, "state": {}}, tmp_path / "net.pt")
        assert "found damaged getgan metadata; copy the file again" in _error(tmp_path / "net.pt")
    torch.save({"getgan": 1, "state": {}}, tmp_path / "net.pt")
    assert "found damaged getgan metadata" in _error(tmp_path / "net.pt")


def test_provenance_may_grow(tmp_path: Path) -> None:
    path = _edited(_saved(tmp_path), lambda d: d.update(provenance={"seed": 5, "colour": "blue"}))
    assert load_checkpoint(path).provenance == Provenance(seed=5)


def test_expected_architecture(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    assert load_checkpoint(path, expect="getgan").arch == "getgan"
    assert _error(path, expect="resnet") == "found architecture getgan; wanted resnet: pass another file"


def _with_state(tmp_path: Path, edit: Callable[[dict[str, Tensor]], object], *, bare: bool = False) -> Path:
    """A .pt file whose state dict was changed after saving."""
    path = _saved(tmp_path, "getgan", ".pt")
    content = torch.load(path, weights_only=True)
    edit(content["state"])
    torch.save(content["state"] if bare else content, path)
    return path


def _reshape_all(state: dict[str, Tensor]) -> None:
    for key in state:
        state[key] = torch.zeros(5)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("gate.bias"), "missing keys gate.bias"),
        (lambda s: s.update({"x": torch.zeros(1)}), "unexpected keys x"),
        (
            lambda s: s.update({"gate.bias": torch.zeros(9)}),
            "gate.bias is float32 (9,) instead of float32 (8,)",
        ),
        (
            lambda s: s.update({"gate.bias": s["gate.bias"].half()}),
            "gate.bias is float16 (8,) instead of float32",
        ),
        (lambda s: s.clear(), "missing keys shared.1.weight, shared.1.bias, shared.4.weight and 33 more"),
        (_reshape_all, "shared.4.weight is float32 (5,) instead of float32 (4, 2, 3, 3) and 33 more"),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path, edit: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    found = _error(_with_state(tmp_path, edit))
    assert found.startswith("weights do not fit getgan with GetGanConfig(in_channels=3, ")
    assert message in found


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("bare", [False, True])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, bare: bool) -> None:
    path = _with_state(tmp_path, lambda s: s["gate.bias"][3].fill_(value), bare=bare)
    assert _error(path) == "found NaN or infinite weights in gate.bias; wanted finite ones"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("fake.8.weight"), "found no such key for fake.8.weight"),
        (lambda s: s.update({"shared.1.weight": torch.zeros(3)}), "found shape (3,) for shared.1.weight"),
        (lambda s: s.pop("error.1.bias"), "weights do not fit getgan with"),
        (lambda s: s.update({"shared.10.conv_block.9.weight": torch.zeros(1)}), "unexpected keys shared.10"),
    ],
)
def test_bare_state_dict_that_almost_fits(
    tmp_path: Path, edit: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    assert message in _error(_with_state(tmp_path, edit, bare=True))


def test_anti_aliased_resnet_is_not_mistaken_for_a_plain_one(tmp_path: Path) -> None:
    plain = _checkpoint("resnet").state
    moved = {
        key.replace("model.1", "model.12", 1) if "conv_block" in key else key: plain[key] for key in plain
    }
    torch.save(
        {key.replace("model.120", "model.12"): value for key, value in moved.items()}, tmp_path / "n.pt"
    )
    assert "found a state dict with keys" in _error(tmp_path / "n.pt")


# --- failing writes ---


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_full_disk_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = _saved(tmp_path, suffix=suffix)
    old = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device; needs \d.*,\d+ bytes, .* are free"):
        save_checkpoint(_checkpoint("resnet"), path)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == old


def test_nothing_unreadable_is_saved(tmp_path: Path) -> None:
    good = _checkpoint()
    path = tmp_path / "net.safetensors"
    nan = {**good.state, "gate.bias": torch.full((8,), float("nan"))}
    short = {key: value for key, value in good.state.items() if key != "gate.bias"}
    for bad, message in (
        (dataclasses.replace(good, state=nan), "NaN or infinite weights in gate.bias"),
        (dataclasses.replace(good, state=short), "missing keys gate.bias"),
        (dataclasses.replace(good, arch="resnet"), "found ResnetConfig with missing or unknown fields"),
        (dataclasses.replace(good, contract=Contract(16, 12, 4)), "min_size = 12; wanted 8"),
        (dataclasses.replace(good, provenance=Provenance(seed=None)), "Provenance.seed"),  # type: ignore[arg-type]
    ):
        with pytest.raises(CheckpointError, match=f"cannot save {path}: .*{message}"):
            save_checkpoint(bad, path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": (1.0, -1.0)}, "impossible image contract"),
        ({"range": (0.0, float("nan"))}, "impossible image contract"),
        ({"range": (0.0, 1e30)}, "impossible image contract"),
        ({"multiple_of": 0}, "impossible image contract"),
        ({"min_size": 0}, "impossible image contract"),
        ({"size": 4}, "wanted a multiple of 4, at least min_size = 8"),
        ({"size": 30}, "wanted a multiple of 4"),
    ],
)
def test_contract_holds_only_what_we_run(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Contract(**{"size": 16, "min_size": 8, "multiple_of": 4, **options})


def test_full_ugatit_contract_names_its_only_size() -> None:
    assert _checkpoint("ugatit-full").contract == Contract(16, 16, 4, fixed=True)


def test_file_is_hashed_as_read(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    before = load_checkpoint(path).sha256
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # one bit of the last weight
    path.write_bytes(data)
    assert load_checkpoint(path).sha256 != before


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "pipe.safetensors"
    os.mkfifo(path)  # a reader would wait for a writer
    with pytest.raises(CheckpointError, match="found no regular file; wanted a checkpoint"):
        load_checkpoint(path)
