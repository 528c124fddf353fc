"""What is out there under the name of a checkpoint: wrappers, options files, and files that are none."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from cli_helpers import getgan
from torch import Tensor, nn

from getgan.errors import CheckpointError, UsageError
from getgan.export.facts import inspect_checkpoint, told_of
from getgan.models.animegan import AnimeGan, AnimeGanConfig
from getgan.models.checkpoint import (
    Checkpoint,
    Provenance,
    describe_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from getgan.models.generator import Generator
from getgan.models.patchgan import PatchGan, PatchGanConfig
from getgan.models.recognise import build_generator
from getgan.models.resnet import ResnetConfig, ResnetGenerator
from getgan.models.settings import MAX_BYTES, Told, told_from_flags
from getgan.models.stored import Stored
from getgan.models.unet import UnetConfig, UnetGenerator

CONFIG = ResnetConfig(ngf=2, blocks=1)
State = dict[str, Tensor]


def net(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return build_generator("resnet", CONFIG)


def state_of(seed: int = 0) -> State:
    return OrderedDict(net(seed).state_dict())


def anime() -> State:
    torch.manual_seed(0)
    return OrderedDict(AnimeGan(AnimeGanConfig(ngf=2)).state_dict())


def prefixed(prefix: str, state: State) -> State:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def error(path: Path, told: Told | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, told=told or Told())
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    assert len(message) < 700 + len(str(path))
    return message.removeprefix(f"{path}: ")


def check(checkpoint: Checkpoint, wanted: State) -> None:
    """It has these weights, to the bit, and the network runs with them."""
    assert checkpoint.arch == "resnet" and checkpoint.config == CONFIG
    assert checkpoint.state.keys() == wanted.keys()
    assert all(torch.equal(checkpoint.state[key], value) for key, value in wanted.items())
    assert checkpoint.generator().translate(torch.zeros(1, 3, 16, 16)).isfinite().all()


# --- wrappers and prefixes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["state_dict", "model_state_dict", "params", "params_ema", "model", "net", "netG", "generator"]
)
@pytest.mark.parametrize("parallel", [False, True], ids=["plain", "DataParallel"])
def test_a_wrapper_of_any_name(tmp_path: Path, name: str, parallel: bool) -> None:
    state = state_of()
    inside = prefixed("module.", state) if parallel else state
    torch.save({name: inside}, tmp_path / "nested.pth")
    check(load_checkpoint(tmp_path / "nested.pth"), state)
    torch.save(prefixed(f"{name}.", inside), tmp_path / "flat.pth")
    check(load_checkpoint(tmp_path / "flat.pth"), state)
    safetensors.torch.save_file(prefixed(f"{name}.", inside), tmp_path / "flat.safetensors")
    check(load_checkpoint(tmp_path / "flat.safetensors"), state)


def test_two_deep_and_beside_an_optimiser(tmp_path: Path) -> None:
    network = net()
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.zeros(1, 3, 16, 16)).sum().backward()
    optimiser.step()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    content = {
        "epoch": 7,
        "best": 0.25,
        "history": [1.0, None, "x"],
        "state_dict": {"netG.module": {"x": 1}, **prefixed("netG.module.", state)},
        "optimizer": optimiser.state_dict(),
    }
    torch.save(content, tmp_path / "last.ckpt")
    check(load_checkpoint(tmp_path / "last.ckpt"), state)
    torch.save({"model": {"generator": state, "discriminator": PatchGan().state_dict()}}, tmp_path / "b.pt")
    found = load_checkpoint(tmp_path / "b.pt")
    check(found, state)
    assert found.chosen == "model.generator"


def test_a_wrapper_with_a_name_of_a_megabyte_is_refused(tmp_path: Path) -> None:
    torch.save({"x" * 900_000: anime()}, tmp_path / "net.pt")
    assert "with a name of 900,000 letters; wanted 200 at most" in error(tmp_path / "net.pt")


def test_a_moving_average_goes_before_the_weights_that_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"params": state_of(1), "params_ema": state_of(2)}, path)
    found = load_checkpoint(path)
    check(found, state_of(2))
    assert "params_ema taken and not params (assumed)" in found.provenance.notes
    check(load_checkpoint(path, told=Told("params")), state_of(1))


def test_of_several_generators_one_is_asked_for_by_name(tmp_path: Path) -> None:
    path = tmp_path / "nets.pth"
    torch.save({"day": state_of(1), "night": state_of(2), "dusk": state_of(3)}, path)
    assert error(path) == "found 3 generators, day, night, dusk; wanted one: --direction day"
    check(load_checkpoint(path, told=Told("night")), state_of(2))
    torch.save({"G_A": state_of(1), "G_B": state_of(2)}, path)
    check(load_checkpoint(path), state_of(1))
    check(load_checkpoint(path, told=Told("B2A")), state_of(2))
    torch.save(state_of(1), path)
    assert error(path, Told("B2A")) == (
        "found one generator, which is all of the file; wanted no --direction"
    )


def test_a_dict_in_itself_again_and_again_is_not_searched_without_end(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"weight": torch.zeros(1)}
    for _ in range(4):
        shared = {f"{number}": shared for number in range(500)}
    torch.save(shared, tmp_path / "net.pth")
    assert (tmp_path / "net.pth").stat().st_size < 100_000
    assert error(tmp_path / "net.pth").startswith("found more than 100,000 entries; wanted")


def test_half_precision_is_read_as_single_and_said(tmp_path: Path) -> None:
    half = {key: value.half() for key, value in state_of().items()}
    path = tmp_path / "half.pth"
    torch.save(half, path)
    found = load_checkpoint(path)
    check(found, {key: value.float() for key, value in half.items()})
    assert "weights saved as float16, used as float32" in found.provenance.notes
    # What is then saved is an ordinary checkpoint.
    save_checkpoint(found, tmp_path / "own.safetensors")
    again = load_checkpoint(tmp_path / "own.safetensors")
    assert again.provenance == found.provenance
    assert error(tmp_path / "own.safetensors", Told("A2B")).endswith("wanted no --direction and no --option")


def test_a_file_from_a_gpu_is_read_without_one(tmp_path: Path) -> None:
    """Where the storages were is a text in the pickle, and no CUDA is at hand to write it."""
    path = tmp_path / "cuda.pth"
    state = state_of()
    torch.save(state, path)
    plain = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        pickled = archive.read(name)
        others = {each: archive.read(each) for each in archive.namelist() if each != name}
    moved = pickled.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:3")
    assert moved != pickled
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, moved)
        for each, data in others.items():
            archive.writestr(each, data)
    assert path.read_bytes() != plain
    check(load_checkpoint(path), state)


# --- what no key tells ------------------------------------------------------------------------------------

OPTIONS = """----------------- Options ---------------
                 lines: 1
             crop_size: {size}\t[default: 256]
         align_corners: {corners}
                   ngf: 2                             \t[default: 64]
                 norm: instance
              dataroot: ./data: old
----------------- End -------------------
"""


@pytest.mark.parametrize("name", ["opt.txt", "train_opt.txt", "test_opt.txt"])
def test_an_options_file_beside_it_and_a_flag_over_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "net.pt"
    torch.save(anime(), path)
    (tmp_path / name).write_text(OPTIONS.format(size=512, corners="False"))
    found = load_checkpoint(path)
    assert isinstance(found.config, AnimeGanConfig) and not found.config.align_corners
    assert found.contract.size == 512
    assert (found.sources["size"], found.sources["align_corners"], found.sources["ngf"]) == (
        name,
        name,
        "keys",
    )
    assert f"{name}: align_corners=False, size=512" in found.provenance.notes
    told = told_from_flags("", ["align_corners=true"])
    over = load_checkpoint(path, told=told)
    assert isinstance(over.config, AnimeGanConfig) and over.config.align_corners
    assert (over.sources["align_corners"], over.sources["size"]) == ("flag", name)


def test_the_tests_options_go_before_the_trainings(tmp_path: Path) -> None:
    torch.save(anime(), tmp_path / "net.pt")
    for name, size in (("opt.txt", 64), ("train_opt.txt", 128), ("test_opt.txt", 512)):
        (tmp_path / name).write_text(OPTIONS.format(size=size, corners="True"))
    assert load_checkpoint(tmp_path / "net.pt").contract.size == 512


def test_without_either_the_default_is_stated(tmp_path: Path) -> None:
    torch.save(anime(), tmp_path / "net.pt")
    found = load_checkpoint(tmp_path / "net.pt")
    assert found.sources["align_corners"] == found.sources["size"] == "assumed"
    assert "assumed: align_corners=True, size=256; RGB in [-1, 1] and eval mode assumed" in (
        found.provenance.notes
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OPTIONS.format(size="big", corners="True"), "found size in opt.txt = 'big'; wanted a whole number"),
        (OPTIONS.format(size=9**60, corners="True"), "at most 40 letters"),
        (OPTIONS.format(size="9" * 30, corners="True"), "found contract.size 9999"),
        (OPTIONS.format(size=-4, corners="True"), "found contract.size -4; wanted"),
        (OPTIONS.format(size=30, corners="True"), "multiple of 4, at least min_size = 8 (the size is from"),
        (OPTIONS.format(size=64, corners="perhaps"), "align_corners in opt.txt = 'perhaps'; wanted true or"),
        (OPTIONS.format(size=64, corners="True") + "crop_size: 65\n", "found a second setting in line 9"),
        (OPTIONS.format(size=64, corners="True") + "\x1b[31m\n", r"found no setting in line 9"),
        (
            OPTIONS.format(size=64, corners="True").replace("ngf: 2 ", "ngf: 64"),
            "found ngf '64' in opt",
        ),
        (OPTIONS.format(size=64, corners="True") + "a: b\n" * MAX_BYTES, "found more than 65,536 bytes"),
    ],
)
def test_a_wrong_options_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    torch.save(anime(), tmp_path / "net.pt")
    (tmp_path / "opt.txt").write_text(text)
    assert words in error(tmp_path / "net.pt")


def test_a_long_line_of_an_options_file_takes_no_time(tmp_path: Path) -> None:
    torch.save(anime(), tmp_path / "net.pt")
    spaces = " " * 15_000  # took hours
    (tmp_path / "opt.txt").write_text(
        OPTIONS.format(size=512, corners="True") + f"a: {spaces}x{spaces}[default: y]{spaces}x\n"
    )
    assert load_checkpoint(tmp_path / "net.pt").contract.size == 512


def test_another_programs_file_and_a_pipe_of_that_name_are_passed_over(tmp_path: Path) -> None:
    torch.save(anime(), tmp_path / "net.pt")
    (tmp_path / "opt.txt").write_bytes(b"\xff\x00 optical: results")
    os.mkfifo(tmp_path / "train_opt.txt")
    (tmp_path / "test_opt.txt").mkdir()
    assert load_checkpoint(tmp_path / "net.pt").sources["size"] == "assumed"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("ngf=3", "found --option ngf (its keys tell that); wanted one of align_corners, size"),
        ("colour=red", "found --option colour (animegan has none)"),
        ("align_corners=7", "found --option align_corners = '7'; wanted true or false"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, option: str, words: str) -> None:
    torch.save(anime(), tmp_path / "net.pt")
    assert words in error(tmp_path / "net.pt", told_from_flags("", [option]))


def test_an_option_is_a_name_and_a_value() -> None:
    for wrong in (["padding"], ["=x"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--option"):
            told_from_flags("", wrong)


# --- what it says of a file -------------------------------------------------------------------------------


def test_inspect_says_what_came_from_where(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"params_ema": anime()}, path)
    (tmp_path / "train_opt.txt").write_text(OPTIONS.format(size=128, corners="False"))
    done = getgan("inspect", path, "--option", "size=64")
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert rows["architecture"].startswith("animegan (")
    assert "from flag     size" in done.stdout
    assert "from train_opt.txt align_corners" in done.stdout
    assert "64x64 recommended, 8x8 smallest, multiples of 4" in rows["images"]
    document = json.loads(getgan("inspect", path, "--json", "--size", "256").stdout)
    assert document["model"]["sources"]["align_corners"] == "train_opt.txt"
    assert document["model"]["chosen"] == "params_ema"
    assert (document["size"], document["contract"]["size"]) == (256, 128)
    assert document["weights_bytes"] == 4 * document["model"]["parameters"]
    wrong = getgan("inspect", path, "--size", "30")
    assert wrong.returncode == 1 and "wanted a multiple of 4" in wrong.stderr


def test_the_figures_are_counted_without_a_forward_pass(tmp_path: Path) -> None:
    whole = ResnetGenerator()
    checkpoint = Checkpoint("resnet", whole.config, whole.state_dict(), whole.contract(256), Provenance())
    save_checkpoint(checkpoint, tmp_path / "net.safetensors")
    facts = inspect_checkpoint(tmp_path / "net.safetensors")
    assert facts.parameters_total == 11_378_179
    at_a_quarter = 18 * 256 * 256 * 9 + 2 * (256 * 128 * 9)  # blocks; up and down at H/4
    at_a_half, at_full = 2 * (128 * 64 * 9), 2 * (64 * 3 * 49)
    by_hand = at_a_quarter * 64**2 + at_a_half * 128**2 + at_full * 256**2
    assert facts.gmac == pytest.approx(by_hand / 1e9)
    assert facts.weights_bytes == 4 * 11_378_179
    # At full size two tensors of 64 channels live at once, and a padded one for a moment.
    assert 2 * 64 * 256**2 * 4 <= facts.activations_bytes <= 4 * 64 * 262**2 * 4
    half = inspect_checkpoint(tmp_path / "net.safetensors", size=128)
    assert half.gmac == pytest.approx(facts.gmac / 4)


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ('[model]\nmethod = "distil"\n[loss]\nmirror = true\nclean_x = false', "distil with loss.mirror"),
        ('[model]\nmethod = "cyclegan"', "cyclegan"),
        ("[loss]\nmirror = true", ""),
        ("a = 1", ""),
        ("x = " + "[" * 10_000, ""),
        ("[model]\nmethod" + ".a" * 20_000 + " = 1", ""),
        ("[model]\nmethod = 0x" + "f" * 6_000, ""),
        ('[model]\nmethod = "\x1b[2J"', ""),
        ("", ""),
    ],
)
def test_the_method_is_that_of_the_kept_config(config: str, method: str, tmp_path: Path) -> None:
    net = ResnetGenerator(ResnetConfig(ngf=2, blocks=1))
    provenance = Provenance(config_toml=config)
    save_checkpoint(
        Checkpoint("resnet", net.config, net.state_dict(), net.contract(64), provenance),
        tmp_path / "n.safetensors",
    )
    facts = inspect_checkpoint(tmp_path / "n.safetensors")
    assert facts.method == method
    assert (f"\nmethod        {method}\n" in facts.text()) == bool(method)
    assert json.loads(facts.to_json())["method"] == method


def test_a_bundles_settings_read_its_checkpoint_again(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({"a": anime(), "b": anime()}, path)
    told = Told("b", (("align_corners", "false"), ("size", "64")))
    facts = inspect_checkpoint(path, told)

    class Like:
        model, contract = facts.model, facts.contract

    again = told_of(Like)  # type: ignore[arg-type]  # all that is read of a manifest
    assert again == Told("b", (("align_corners", "False"), ("size", "64")))
    assert load_checkpoint(path, told=again).config == load_checkpoint(path, told=told).config


def test_describing_reads_no_number(tmp_path: Path) -> None:
    """The storages are cut out of the file, and what is left still says what it was."""
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(state_of(), path)
    length = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.truncate(length)
        file.truncate(size)  # a hole
    found = describe_checkpoint(path)
    assert found.config == CONFIG and found.sha256 is None
    assert all(value.is_meta for value in found.state.values())


def test_a_file_that_changes_while_it_is_read_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    torch.save(state_of(), path)
    read = Stored.read

    def late(stored: Stored, file: Any) -> Tensor:
        os.utime(path, ns=(1, 1))
        return read(stored, file)

    monkeypatch.setattr(Stored, "read", late)
    assert error(path) == "file changed while it was read; wait until it is written"

    def cut(stored: Stored, file: Any) -> Tensor:
        os.truncate(path, 100)
        return read(stored, file)

    torch.save(state_of(), path)
    monkeypatch.setattr(Stored, "read", cut)
    assert error(path) == "file became shorter while it was read; copy it again"


# --- files that are none ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pth", b"", "found an empty file"),
        ("a.pth", b"<!DOCTYPE html><html>", "found a web page under this name; wanted the file itself"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid", "found a Git LFS pointer"),
        ("a.pt", b"ptrt\0\0\0\0", "found a TensorRT engine"),
        ("a.engine", b"????", "found a TensorRT engine"),
        ("a.pth", b"\x08\x08\x12\x07pytorch", "found an ONNX graph"),
        ("a.onnx", b"x", "found an ONNX graph"),
        ("a.safetensors", b'{"metadata": {}, "weight_map": {}}', "found the index of a model in several"),
        ("a.safetensors.index.json", b'{"x": 1}', "found the index of a model in several files"),
        ("a.pt", b'{"x": 1}', "found a JSON file"),
        ("a.pth", b"\x1f\x8b\x08" + bytes(30), "found a gzip file; wanted a checkpoint: gunzip it first"),
        ("a.pth", bytes(257) + b"ustar" + bytes(300), "found a tar archive"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "found an HDF5 file"),
        ("a.txt", b"hello", "found a damaged file or none of PyTorch's"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert error(path).startswith(words)


def _discriminator() -> State:
    return OrderedDict(PatchGan(PatchGanConfig(ndf=2)).state_dict())


def _cyclegans() -> State:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 4, 2, 1), nn.LeakyReLU(0.2)]
    for _ in range(3):
        layers += [nn.Conv2d(4, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(4, 1, 4, 1, 1)]  # model.11, before model.2 in the alphabet
    return prefixed("model.", nn.Sequential(*layers).state_dict())


@pytest.mark.parametrize("make", [_discriminator, _cyclegans])
def test_a_discriminator_is_called_one(tmp_path: Path, make: Callable[[], State]) -> None:
    torch.save(make(), tmp_path / "latest_net_D_A.pth")
    assert error(tmp_path / "latest_net_D_A.pth").startswith("found a discriminator (")
    safetensors.torch.save_file(make(), tmp_path / "D.safetensors")  # in the alphabet's order
    assert error(tmp_path / "D.safetensors").startswith("found a discriminator (")
    torch.save({"module": make()}, tmp_path / "D.pth")
    assert error(tmp_path / "D.pth").startswith("found a discriminator (")


def test_a_lora_an_optimiser_and_a_training_state_are_called_so(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    lora = {"unet.down.lora_up.weight": torch.zeros(2, 2), "unet.down.lora_down.weight": torch.zeros(2, 2)}
    safetensors.torch.save_file(lora, path)
    assert error(path).startswith(
        "found a LoRA, which only changes another network's weights; wanted a whole"
    )
    for names in ("to_q_lora.down", "to_q_lora.up"), ("hada_w1_a", "hada_w2_a"), ("lora_A", "lora_B"):
        lora = {f"down.{n}.{name}.weight": torch.zeros(2, 2) for n in range(2) for name in names}
        safetensors.torch.save_file(lora, path)
        assert error(path).startswith("found a LoRA, which only")
    linear = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(linear.parameters())
    linear(torch.zeros(1, 2)).sum().backward()
    optimiser.step()
    torch.save({"optimizer": optimiser.state_dict(), "epoch": 3}, tmp_path / "a.pt")
    assert error(tmp_path / "a.pt").startswith("found an optimiser's state without a network; wanted")
    torch.save(optimiser.state_dict(), tmp_path / "a.pt")
    assert error(tmp_path / "a.pt").startswith("found an optimiser's state without a network; wanted")
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "a.pt")
    assert error(tmp_path / "a.pt").startswith("found epoch, lr, and no tensor among them; wanted")
    torch.save(linear, tmp_path / "a.pt")
    assert error(tmp_path / "a.pt").startswith("found a whole pickled object, not its weights (torch.nn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, whose files stay
        scripted = torch.jit.trace(linear, torch.zeros(1, 2))  # type: ignore[no-untyped-call]  # PyTorch's
        scripted.save(str(tmp_path / "a.pt"))
    assert error(tmp_path / "a.pt").startswith("found a PyTorch file with TorchScript's code in it; wanted")


def test_the_nearest_architecture_and_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    state = anime()
    del state["block_a.0.1.weight"]
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, path)
    message = error(path)
    assert message.startswith("found a state dict with keys block_a.0.2.bias, block_a.0.2.weight, ")
    assert "; the nearest is animegan (an AnimeGANv2 generator (" in message
    assert message.endswith("missing keys block_a.0.1.weight; unexpected keys extra.weight")
    torch.save({"state_dict": prefixed("module.", state)}, path)
    assert error(path).endswith("missing keys block_a.0.1.weight; unexpected keys extra.weight")
    torch.save({"a.weight": torch.zeros(2), "b.weight": torch.zeros(2)}, path)
    assert "the nearest" not in error(path)


def test_a_truncated_file_of_every_length(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": state_of(), "epoch": 1}, path)
    data = path.read_bytes()
    for length in (1, 10, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        assert "copy" in error(path)


@pytest.mark.parametrize(("stated", "mode"), [("eval: False", "train"), ("eval: True", "eval"), ("", "eval")])
def test_pix2pixs_mode_of_its_batch_norm_is_what_it_was_tested_in(
    tmp_path: Path, stated: str, mode: str
) -> None:
    torch.save(UnetGenerator(UnetConfig(ngf=2, depth=3)).state_dict(), tmp_path / "latest_net_G.pth")
    (tmp_path / "test_opt.txt").write_text(f"----- Options -----\n{stated}\n----- End -----\n")
    found = load_checkpoint(tmp_path / "latest_net_G.pth")
    assert isinstance(found.config, UnetConfig) and found.config.norm_mode == mode
    assert found.sources["norm_mode"] == ("test_opt.txt" if stated else "assumed")
    assert found.contract.size == 8 and found.sources["size"] == "assumed"
    flag = load_checkpoint(tmp_path / "latest_net_G.pth", told=Told(options=(("norm_mode", "train"),)))
    assert isinstance(flag.config, UnetConfig) and flag.config.norm_mode == "train"
    assert flag.sources["norm_mode"] == "flag" and "flag: norm_mode=train" in flag.provenance.notes
