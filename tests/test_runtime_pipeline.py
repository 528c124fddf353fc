"""Any picture in, its translation out in the same place and size; a broken one is never shown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from backend_helpers import needs_backend, needs_onnxruntime, needs_openvino
from bundle_helpers import make_bundle, network, noise, sample
from numpy.typing import NDArray

from getgan.contract import MAX_SIZE, Contract
from getgan.errors import ConfigError, DataError, DeviceError
from getgan.runtime.answers import Answers, answers_of
from getgan.runtime.backends import Engine, Graph
from getgan.runtime.bundle import Bundle
from getgan.runtime.geometry import Fit, buckets, lay, lift, placement, resize
from getgan.runtime.label import add_label, labelled_size
from getgan.runtime.manifest import Frames
from getgan.runtime.metrics import psnr
from getgan.runtime.pipeline import Pipeline, PipelineOptions, Result
from getgan.runtime.selftest import SelfTest
from getgan.runtime.session import SessionInfo, open_session

CONTRACT = Contract(size=64, min_size=8, multiple_of=4)
Outputs = dict[str, NDArray[np.float32]]


class FakeSession:
    """Gives what `change` makes of its input, as its own engine; remembers the shapes that it saw."""

    outputs: tuple[str, ...] = ("face",)
    info = SessionInfo(
        "onnxruntime", "cpu", "fp32", "test", "test", 1, "test", SelfTest("test", 0, 99.0, 1.0, 0.0)
    )
    version, threads, preferred_batch = "test", 1, 1
    frames: Frames = "float32"

    def __init__(self, change: Callable[[NDArray[np.float32]], Any] = lambda images: images) -> None:
        self.seen: list[tuple[int, ...]] = []
        self._change = change

    def translate(self, frames: NDArray[np.uint8]) -> Answers:
        return answers_of(self, frames, CONTRACT.range)

    def run(self, images: NDArray[np.float32]) -> Outputs:
        return self.infer(images)

    def ran_on(self) -> str:
        return "test"

    def infer(self, images: NDArray[np.float32]) -> Outputs:
        self.seen.append(images.shape)
        found = self._change(images)
        return found if isinstance(found, dict) else {"face": np.asarray(found, np.float32)}

    def close(self) -> None:
        pass

    def __enter__(self) -> FakeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def translated(frame: NDArray[np.uint8], session: FakeSession | None = None, **options: Any) -> Result:
    pipeline = Pipeline(session or FakeSession(), CONTRACT, PipelineOptions(**{"label": False, **options}))
    (result,) = pipeline.translate([frame])
    return result


def image_of(result: Result) -> NDArray[np.uint8]:
    assert result.fault == ""
    assert result.image is not None
    return result.image


# --- geometry -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "step"), [(256, 4), (64, 4), (32, 4), (512, 32)])
def test_there_are_few_canvases_of_about_one_number_of_pixels(size: int, step: int) -> None:
    found = buckets(Contract(size=size, min_size=8, multiple_of=step), size)
    assert len(set(found)) == len(found) <= 11
    assert found[0] == (size, size)
    assert {(width, height) for height, width in found} == set(found)
    for height, width in found:
        assert height % step == width % step == 0
        assert 0.85 < height * width / size**2 < 1.15
        assert 0.45 < height / width < 2.2
    if size == 256:
        assert found[:6] == ((256, 256), (228, 288), (220, 296), (208, 312), (192, 340), (180, 364))


def test_a_canvas_is_never_smaller_than_the_contract_allows() -> None:
    assert buckets(Contract(size=8, min_size=8, multiple_of=4), 8) == ((8, 8), (8, 12), (12, 8))
    assert buckets(Contract(size=64, min_size=64, multiple_of=64, fixed=True), 64) == ((64, 64),)


@pytest.mark.parametrize(
    ("height", "width"),
    [(64, 64), (480, 640), (640, 480), (65, 63), (9, 27), (1080, 1920), (600, 1200), (8, 8), (500, 559)],
)
def test_fit_neither_cuts_nor_squeezes_and_fills_little(height: int, width: int) -> None:
    contract = Contract(size=256, min_size=8, multiple_of=4)
    where = placement(height, width, 256, "fit", contract)
    assert where.canvas in buckets(contract, 256)
    assert where.source == (0, 0, height, width)
    top, left, h, w = where.place
    assert top >= 0 and left >= 0 and top + h <= where.canvas[0] and left + w <= where.canvas[1]
    assert h == where.canvas[0] or w == where.canvas[1]
    assert abs(w / h - width / height) / (width / height) < 0.01  # half a pixel
    # 3:1 is longer than the longest canvas; between two canvases at most a ninth of a side is filled.
    assert h * w / (where.canvas[0] * where.canvas[1]) > (0.6 if width == 3 * height else 0.88)


def test_every_picture_up_to_three_to_one_finds_a_canvas_that_it_fills() -> None:
    contract = Contract(size=256, min_size=8, multiple_of=4)
    for width in range(100, 301):
        for height, wide in ((100, width), (width, 100)):
            where = placement(height, wide, 256, "fit", contract)
            filled = where.place[2] * where.place[3] / (where.canvas[0] * where.canvas[1])
            assert filled > (0.88 if width <= 220 else 0.65)


def test_what_the_picture_leaves_free_is_its_own_mirror_image() -> None:
    frame = noise(64)[:, :60].copy()
    seen: list[NDArray[np.float32]] = []

    def note(images: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(images.copy())
        return images

    result = image_of(translated(frame, FakeSession(note)))
    assert np.array_equal(result, frame)  # what was filled is cut away, and nothing resampled
    view = np.rint((seen[0][0].transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    assert view.shape == (64, 64, 3)
    assert np.array_equal(view[:, 2:62], frame)
    assert np.array_equal(view[:, :2], frame[:, 2:0:-1])
    assert np.array_equal(view[:, 62:], frame[:, -2:-4:-1])


@pytest.mark.parametrize("fit", ["fit", "letterbox", "crop"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 128), (128, 96), (61, 87), (70, 200)])
def test_what_goes_through_unchanged_comes_back_in_its_place_and_size(
    fit: Fit, height: int, width: int
) -> None:
    frame = cv2.GaussianBlur(sample(height, width=width), (0, 0), 6).astype(np.uint8)
    session = FakeSession()
    result = image_of(translated(frame, session, fit=fit))
    expected = frame
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        expected = frame[top : top + side, left : left + side]
    assert result.shape == expected.shape
    assert psnr(result, np.ascontiguousarray(expected)) > 28
    if fit != "fit":
        assert session.seen == [(1, 3, 64, 64)]


def test_a_picture_of_the_networks_size_is_not_resampled() -> None:
    frame = noise(64)
    for fit in ("fit", "letterbox", "crop"):
        assert np.array_equal(image_of(translated(frame, fit=fit)), frame)


def test_letterbox_lays_the_picture_on_black_and_cuts_the_bars_off_again() -> None:
    seen: list[NDArray[np.float32]] = []

    def note(images: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(images.copy())
        return images

    session = FakeSession(note)
    frame = np.full((32, 64, 3), 128, np.uint8)
    frame[8:24, 16:48] = 200
    result = image_of(translated(frame, session, fit="letterbox"))
    rows = np.flatnonzero((seen[0][0] > -1).all(axis=(0, 2)))
    assert (rows[0], rows[-1], rows.size) == (16, 47, 32)
    assert result.shape == (32, 64, 3)
    assert np.array_equal(result, frame)
    small = image_of(
        translated(sample(128, width=256), FakeSession(), fit="letterbox", output_size="network")
    )
    assert small.shape == (32, 64, 3)


def test_sizes_of_network_output_and_other_network_sizes() -> None:
    session = FakeSession()
    result = translated(sample(96, width=128), session, size=32, output_size="network")
    assert session.seen == [(1, 3, 28, 36)]
    assert image_of(result).shape == (27, 36, 3)
    assert Pipeline(session, CONTRACT).size == 64


@pytest.mark.parametrize(("size", "batches"), [(64, [4, 1]), (512, [4, 1]), (704, [2, 2, 1]), (728, [1] * 5)])
def test_large_pictures_go_through_the_network_one_by_one(size: int, batches: list[int]) -> None:
    """However many at once its engine likes: their memory is that of one picture of 1024x1024."""
    session = FakeSession()
    session.info = replace(FakeSession.info, preferred_batch=4)
    options = PipelineOptions(size=size, label=False)
    results = Pipeline(session, CONTRACT, options).translate([noise(64, number) for number in range(5)])
    assert [shape[0] for shape in session.seen] == batches
    assert len({image_of(result).tobytes() for result in results}) == 5


def test_fewer_pixels_are_means_and_not_samples() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::2] = 255
    small = resize(stripes, 64, 64)
    assert small.min() >= 127 and small.max() <= 128
    assert lay(stripes, placement(256, 256, 64, "fit", CONTRACT)).std() < 1
    grown = lift(small, placement(256, 256, 64, "fit", CONTRACT), "input")
    assert grown.shape == (256, 256, 3)


@pytest.mark.parametrize(
    ("shape", "fit", "message"),
    [
        ((1, 1), "fit", "found a picture of 1x1 pixels; wanted 8 or more each way"),
        ((1, 1), "crop", "found a picture of 1x1"),
        ((100_000, 3), "fit", "found a picture of 3x100000 pixels; wanted 8 or more"),
        ((3, 100_000), "letterbox", "found a picture of 100000x3 pixels"),
        ((3, 100_000), "crop", "found a picture of 100000x3 pixels"),
        ((20, 61), "fit", "an aspect of 3:1 or less, or --fit crop"),
        ((61, 20), "fit", "an aspect of 3:1 or less, or --fit crop"),
        ((200, 20), "letterbox", "an aspect of 8:1 or less"),
    ],
)
def test_extreme_pictures_are_refused(shape: tuple[int, int], fit: Fit, message: str) -> None:
    with pytest.raises(DataError, match=message):
        translated(np.zeros((*shape, 3), np.uint8), fit=fit)


def test_a_long_picture_can_be_cropped() -> None:
    assert image_of(translated(sample(20, width=400), fit="crop")).shape == (20, 20, 3)


def test_one_refused_picture_stops_the_call_before_any_is_translated() -> None:
    session = FakeSession()
    with pytest.raises(DataError):
        Pipeline(session, CONTRACT).translate([sample(64), np.zeros((1, 1, 3), np.uint8)])
    assert session.seen == []


def test_arrays_that_are_no_rgb_pictures() -> None:
    for frame in (
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
    ):
        with pytest.raises(DataError, match=r"frame 0 is .*; wanted uint8 \(H, W, 3\) RGB"):
            translated(frame)  # type: ignore[arg-type]


def test_frames_of_any_strides_and_a_read_only_one() -> None:
    whole = noise(128)
    for frame in (whole[::2, ::2], whole[:64, :64][::-1], whole[:64, :64, ::-1]):
        assert np.array_equal(image_of(translated(frame)), frame)
    whole.flags.writeable = False
    before = whole.copy()
    translated(whole, label=True)
    assert np.array_equal(whole, before)


# --- options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 30}, "found size 30; wanted a multiple of 4 from 8 to 2048"),
        ({"size": 4}, "found size 4"),
        ({"size": -64}, "found size -64"),
        ({"size": MAX_SIZE + 4}, f"found size {MAX_SIZE + 4}"),
        ({"fit": "stretch"}, "found fit 'stretch'; wanted one of fit, letterbox, crop"),
        ({"output_size": "double"}, "found output_size 'double'"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pipeline(FakeSession(), CONTRACT, PipelineOptions(**options))


def test_a_network_of_one_size_is_cropped_or_letterboxed() -> None:
    fixed = Contract(size=64, min_size=64, multiple_of=64, fixed=True)
    with pytest.raises(ConfigError, match="64x64 pixels and nothing else; wanted crop or letterbox"):
        Pipeline(FakeSession(), fixed)
    with pytest.raises(ConfigError, match="found size 128; wanted 64, the only size"):
        Pipeline(FakeSession(), fixed, PipelineOptions(fit="crop", size=128))
    for fit in ("crop", "letterbox"):
        session = FakeSession()
        Pipeline(session, fixed, PipelineOptions(fit=fit)).translate([sample(100, width=200)])
        assert session.seen == [(1, 3, 64, 64)]


# --- the guard ------------------------------------------------------------------------------------------


def one_nan(images: NDArray[np.float32]) -> NDArray[np.float32]:
    images = images.copy()
    images[0, 1, 7, 9] = np.nan
    return images


def with_map(images: NDArray[np.float32], value: float) -> Outputs:
    hidden = np.full((1, 1, images.shape[2] // 4, images.shape[3] // 4), value, np.float32)
    return {"face": images, "occlusion": hidden}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_nan, "of the output face is NaN or infinite"),
        (lambda images: images + np.inf, "100.0% of the output face is NaN or infinite"),
        (lambda images: images * -np.inf, "NaN or infinite"),
        (lambda images: images * 3, "the output face reaches from .* wanted -1 to 1"),
        (lambda images: images * 0, "the output is one flat colour"),
        (lambda images: images * 0 - 1, "the output is one flat colour"),
        (lambda images: images * 0.001, "the output is one flat colour"),
        (lambda images: with_map(images, np.nan), "100.0% of the output occlusion is NaN"),
        (lambda images: with_map(images, 1e6), "the output occlusion reaches from 1e.06 to .* wanted 0 to 1"),
        (lambda images: with_map(images, -0.5), "the output occlusion reaches from -0.5 to"),
        (lambda images: {"face": images, "error": images * 3}, "the output error reaches"),
    ],
)
def test_a_broken_output_is_not_shown(change: Callable[[Any], Any], message: str) -> None:
    for label in (True, False):
        result = translated(sample(64), FakeSession(change), label=label)
        assert result.image is None
        assert result.occlusion is None
        assert result.fault and "\n" not in result.fault
        assert re.search(message, result.fault)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda images: images[:, :, ::2],
            r"the network gave face \(1, 3, 32, 64\), wanted \(1, 3, 64, 64\)",
        ),
        (lambda images: {"face": images, "occlusion": images[:, 0]}, "the network gave occlusion"),
    ],
)
def test_an_output_of_another_shape_is_no_pictures_fault(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        translated(sample(64), FakeSession(change))


@pytest.mark.parametrize("level", [0, 20, 255])
def test_a_flat_input_is_refused_before_the_network(level: int) -> None:
    """The probe is off the skin: no face must come of rounding noise."""
    session = FakeSession(lambda images: images)
    result = translated(np.full((64, 96, 3), level, np.uint8), session)
    assert result.image is None and result.fault.startswith("the input is one flat colour (spread 0.00")
    assert session.seen == []
    letterboxed = translated(np.full((64, 96, 3), level, np.uint8), session, fit="letterbox")
    assert letterboxed.image is None and session.seen == []  # its bars are no picture


def test_one_broken_frame_does_not_stop_the_others() -> None:
    calls = 0

    def every_second(images: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        return images * np.float32(np.nan) if calls % 2 == 0 else images

    pipeline = Pipeline(FakeSession(every_second), CONTRACT)
    results = pipeline.translate([sample(64, n) for n in range(4)])
    assert [result.image is None for result in results] == [False, True, False, True]
    assert [bool(result.fault) for result in results] == [False, True, False, True]


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("onnxruntime", marks=needs_onnxruntime),
        pytest.param("openvino", marks=needs_openvino),
    ],
)
def test_a_division_by_zero_in_the_graph_is_caught(backend: str) -> None:
    """The self-test refuses it at once; a fault that only some pictures bring out is the guard's."""
    graph = Graph(lambda: network(divide_by_zero=True), "fp32", "image", ("face",))
    engine: Engine
    if backend == "onnxruntime":
        from getgan.runtime.backends.onnxruntime import OnnxRuntimeEngine

        engine = OnnxRuntimeEngine(graph, 1, None)
    else:
        from getgan.runtime.backends.openvino import OpenVinoEngine

        engine = OpenVinoEngine(graph, 1)
    result = translated(sample(64), FakeSession(engine.infer))
    assert result.image is None
    assert "NaN" in result.fault
    engine.close()


# --- real sessions --------------------------------------------------------------------------------------


@needs_backend
def test_a_real_session_with_pictures_of_many_shapes(tmp_path: Path) -> None:
    folder = make_bundle(
        tmp_path / "b", graph=network(outputs=("face", "occlusion")), outputs=("face", "occlusion"), size=64
    )
    bundle = Bundle.open(folder)
    with open_session(bundle, precision="fp32", threads=1) as session:
        pipeline = Pipeline(session, bundle.manifest.contract, PipelineOptions(label=False))
        frames = [sample(64), sample(300, width=400), sample(90, width=40), noise(64)]
        results = pipeline.translate(frames)
        assert pipeline.translate([]) == []
    for frame, result in zip(frames, results, strict=True):
        assert image_of(result).shape == frame.shape
        assert result.occlusion is not None
        assert result.occlusion.shape == frame.shape[:2]
        assert result.occlusion.dtype == np.uint8
        timings = result.timings
        assert min(timings.pre, timings.network, timings.post) > 0
        assert timings.total == pytest.approx(timings.pre + timings.network + timings.post)
    golden = cv2.imread(str(folder / "golden/face.output.png"))
    assert golden is not None
    assert np.abs(image_of(results[0]).astype(int) - golden[..., ::-1]).max() <= 1


def test_the_occlusion_map_lies_where_it_belongs() -> None:
    def change(images: NDArray[np.float32]) -> Outputs:
        hidden = np.zeros((1, 1, 16, 16), np.float32)
        hidden[:, :, :, 8:] = 1.0
        return {"face": images, "occlusion": hidden}

    result = translated(sample(128), FakeSession(change), label=True)
    assert result.occlusion is not None
    assert result.occlusion.shape == (128, 128)
    assert result.occlusion[:, :50].max() == 0
    assert result.occlusion[:, -50:].min() == 255


def test_what_a_parent_sees_is_labelled_unless_an_engineer_asks() -> None:
    frame = sample(256)
    plain = image_of(translated(frame, size=256))
    shown = Pipeline(FakeSession(), CONTRACT, PipelineOptions(size=256)).translate([frame])[0]
    assert np.array_equal(image_of(shown), add_label(plain))
    small = Pipeline(FakeSession(), CONTRACT).translate([sample(64)])[0]
    assert image_of(small).shape == (*labelled_size(64, 64), 3)
