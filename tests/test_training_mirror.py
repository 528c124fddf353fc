"""A teacher that sees each scan in the mirror too: what is halved, what stays, and who refuses it."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor
from training_helpers import noise, small, started, trained

from getgan.errors import ConfigError, TrainingError
from getgan.models.getgan import GetGanConfig, GetGanGenerator, GetGanOutput
from getgan.models.tensors import tensor_from_images
from getgan.training.faces import SceneConfig, render_photo, seed_of
from getgan.training.methods.distil import Distil
from getgan.training.methods.mirror import _moved, both_ways, halfway

SIDE = 128
MIRRORED = ("model.method=distil", "loss.mirror=true", "loss.lambda_gan=0")


class Leaning(GetGanGenerator):
    """Answers with the picture it is given, so many pixels to the right."""

    def __init__(self, pixels: int) -> None:
        super().__init__(GetGanConfig(widths=(2, 3), shared_blocks=1, branch_blocks=1))
        self._pixels = pixels

    def forward(self, x: Tensor) -> GetGanOutput:
        moved = x.roll(self._pixels, dims=3)
        return GetGanOutput(moved, moved, moved[:, :1, ::4, ::4])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for 32 pixels."""
    return trained(tmp_path_factory.mktemp("teacher"))


def faces(count: int) -> Tensor:
    """Photos, (N, 3, SIDE, SIDE)."""
    scene = SceneConfig(size=SIDE)
    return tensor_from_images(
        np.stack([render_photo(scene, seed_of("photo", "test", n)).image for n in range(count)])
    )


def grain(image: Tensor) -> Tensor:
    """Mean difference between neighbours."""
    return image.diff(dim=3).abs().mean()


def turned(image: Tensor, degrees: float) -> Tensor:
    """About its middle."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]]).expand(len(image), 2, 3)
    places = functional.affine_grid(matrix, list(image.shape), align_corners=False)
    return functional.grid_sample(image, places, mode="bicubic", padding_mode="border", align_corners=False)


def inner(image: Tensor) -> Tensor:
    """Without the rim, beyond which nothing is known."""
    return image[..., 12:-12, 12:-12]


@pytest.mark.parametrize("pixels", [(-3, 0), (3, 0), (0, 3), (6, -4)])  # to the right, down
def test_halfway_is_in_the_middle_whichever_way(pixels: tuple[int, int]) -> None:
    x = faces(2)
    one, other = x.roll(pixels, dims=(3, 2)), x.roll((-pixels[0], -pixels[1]), dims=(3, 2))
    before, after = (inner(picture - x).abs().mean() for picture in (one, halfway(one, other)))
    assert float(after) < 0.05 * float(before)


def test_halfway_of_what_is_askew_is_upright() -> None:
    """The two rounds leave 0.16 of it, one 0.22."""
    x = faces(4)
    one, other = turned(x, 3.0), turned(x, -3.0)
    before, after = (inner(picture - x).abs().mean() for picture in (one, halfway(one, other)))
    assert float(after) < 0.19 * float(before)


def test_halfway_between_two_pixels_is_as_sharp_and_stays_a_picture() -> None:
    """Bilinear sampling leaves 0.92 of the grain; bicubic overshoots at an edge."""
    x = faces(4)
    one, other = x.roll(-2, dims=3), x.roll(3, dims=3)
    assert float(grain(inner(halfway(one, other)))) > 0.96 * float(grain(inner(one)))
    edges = torch.sign(noise(1, 1, 3, 8, 8)).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    moved = halfway(edges.roll(-2, dims=3), edges.roll(3, dims=3))
    assert float(moved.abs().max()) == 1.0 and not torch.equal(moved.abs(), torch.ones_like(moved))


def test_first_of_both_is_moved_and_nothing_taken_from_the_second() -> None:
    x = faces(2)
    one, other = x.roll(-3, dims=3), x.roll(3, dims=3)
    changed = halfway(one, other - 0.1) - halfway(one, other)
    assert float(inner(changed).abs().mean()) < 0.02


def test_beyond_the_rim_is_what_stands_at_it() -> None:
    x = noise(1, 1, 3, 32, 32)
    by = torch.zeros(1, 2, 32, 32)
    by[:, 0] = 3.0
    moved = _moved(x, by, "bicubic")
    assert torch.allclose(moved[..., :-6], x[..., 3:-3], atol=1e-5)
    assert torch.allclose(moved[..., -2:], x[..., -1:].expand(-1, -1, -1, 2), atol=1e-5)


def test_bf16_of_a_run_does_not_move_it() -> None:
    x = faces(1)
    one, other = turned(x, 2.0), turned(x, -2.0)
    wanted = halfway(one, other)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(halfway(one, other), wanted)


def test_who_leans_to_one_side_is_set_upright() -> None:
    x = faces(4)
    for pixels in (-3, 3):
        leaning = Leaning(pixels)
        before = inner(leaning(x).y_star - x).abs().mean()
        after = inner(both_ways(leaning, x).y_star - x).abs().mean()
        assert float(after) < 0.15 * float(before)


def test_a_picture_is_halfway_to_itself_whatever_its_size() -> None:
    for side in (32, 48, 96):  # from the smallest that a run may have
        x = noise(1, 2, 3, side, side)
        assert float((halfway(x, x) - x).abs().max()) < 1e-5


def test_what_is_in_the_scan_is_the_mean_and_stands_where_it_stood() -> None:
    x = faces(2)
    own, turned = x.roll(3, dims=3), x.roll(-3, dims=3)
    found = both_ways(Leaning(3), x)
    assert torch.equal(found.y_error, (own + turned) / 2)
    assert found.gate is not None
    wanted = (Leaning(3)(x).gate, Leaning(3)(x.flip(3)).gate)
    assert wanted[0] is not None and wanted[1] is not None
    assert torch.allclose(found.gate, (wanted[0] + wanted[1].flip(3)) / 2)


def test_teacher_of_a_run_answers_both_ways(teacher: Path, tmp_path: Path) -> None:
    """Who is its own teacher has something to learn then: what it does otherwise in the mirror."""
    method = started(tmp_path, teacher, *MIRRORED).method
    assert isinstance(method, Distil) and method._teacher is not None
    x = noise(1, 2, 3, 32, 32)
    with torch.no_grad():
        wanted = both_ways(method._teacher, x)
        own = method._teacher(x)
    face = 10 * float((wanted.y_star - own.y_star).abs().mean())
    assert face > 0.01
    told = method.iterate(x, noise(2, 2, 3, 32, 32))
    assert float(told["face"]) == pytest.approx(face, rel=1e-3)
    assert float(told["error"]) == pytest.approx(float((wanted.y_error - own.y_error).abs().mean()), rel=1e-2)


def test_discriminator_can_take_the_teacher_s_faces_for_real(teacher: Path, tmp_path: Path) -> None:
    """And photos by default; not of another size."""
    x, y = noise(1, 2, 3, 32, 32), noise(2, 2, 3, 32, 32)
    for told in (False, True):
        options = (*MIRRORED[:2], f"loss.teacher_real={str(told).lower()}")
        method = started(tmp_path / str(told), teacher, *options).method
        assert isinstance(method, Distil) and method._teacher is not None
        with torch.no_grad():
            wanted = both_ways(method._teacher, x).y_star if told else y
        seen: list[Tensor] = []
        method.nets["disc_y"].register_forward_pre_hook(
            lambda _net, given, seen=seen: seen.append(given[0].detach())
        )
        method.iterate(x, y)
        assert torch.allclose(seen[1], wanted, atol=1e-6)
    larger = ("model.method=distil", "model.widths=[2,3,4,5]", "data.size=64", "loss.teacher_real=true")
    with pytest.raises(
        TrainingError, match=r"32 pixels, this run's 64, so D_Y .*; wanted a teacher of 64, or"
    ):
        started(tmp_path / "larger", teacher, *larger)


def test_larger_pictures_are_reduced_for_it(teacher: Path, tmp_path: Path) -> None:
    options = (*MIRRORED, "model.widths=[2,3,4,5]", "data.size=64")
    told = started(tmp_path, teacher, *options).method.iterate(noise(1, 1, 3, 64, 64), noise(2, 1, 3, 64, 64))
    assert all(bool(torch.isfinite(value)) for value in told.values())


@pytest.mark.parametrize("gate", ["none", "1x1"])
def test_with_all_other_options(gate: str, tmp_path: Path) -> None:
    """Of a distillation; those that lay occluders over scans want a gate."""
    start = trained(tmp_path / "start", f"model.gate={gate}")
    options = [*MIRRORED[:2], f"model.gate={gate}", "loss.teacher_real=true", "run.precision=bf16"]
    if gate != "none":
        more = ("transplant=true", "clean_x=true", "teacher_sees=true", "hidden_gain=3", "teacher_afar=1")
        options += ["optim.batch=4", *(f"loss.{option}" for option in more)]
    method = started(tmp_path / "run", start, *options).method
    told = method.iterate(noise(1, 4, 3, 32, 32), noise(2, 4, 3, 32, 32))
    assert all(bool(torch.isfinite(value)) for value in told.values())
    assert ("gate" in told) == (gate != "none")


def test_optical_flow_has_the_threads_of_the_run(teacher: Path, tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        started(tmp_path, teacher, *MIRRORED, "run.threads=1")
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("option", ["mirror", "teacher_real"])
def test_other_methods_refuse_it(option: str, tmp_path: Path) -> None:
    trunk = ("optim.batch=2", "loss.transplant=true")
    for method in ("getgan", "cyclegan", "ugatit", "trunk"):
        options = (f"model.method={method}", *(trunk if method == "trunk" else ()), f"loss.{option}=true")
        with pytest.raises(ConfigError, match=rf"loss\.{option} is True; wanted false: method distil alone"):
            small(tmp_path, *options)


def test_scans_whose_mirror_images_are_none_are_not_mirrored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.mirror is True; wanted false where data\.flip is"):
        small(tmp_path, *MIRRORED, "data.flip=false")
