"""Frames in and faces out: a graph of floats or of uint8, one frame or several, each with its own fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_helpers import INSTALLED, needs_backend, needs_onnxruntime
from bundle_helpers import VARIANT, make_bundle, network, noise, sample
from numpy.typing import NDArray

from getgan.contract import SIGNED, Contract
from getgan.errors import ConfigError, DataError, DeviceError
from getgan.runtime.answers import answers_of
from getgan.runtime.backends import Candidate, Engine, Graph
from getgan.runtime.backends.catalog import backend_of
from getgan.runtime.backends.onnxruntime import OnnxRuntimeEngine
from getgan.runtime.bundle import Bundle
from getgan.runtime.manifest import EXTENT, Frames
from getgan.runtime.outputs import range_fault, shape_fault
from getgan.runtime.pipeline import Pipeline, Result
from getgan.runtime.session import BundleSession, open_session

pytestmark = needs_backend
OUTPUTS = ("face", "occlusion")
CONTRACT = Contract(size=32, min_size=8, multiple_of=4)
WAY = Candidate("onnxruntime", "cpu", "fp32")
Pictures = NDArray[np.uint8]


def graph_of(frames: Frames, *, stated: Frames | None = None, **options: Any) -> Graph:
    """A small network; stated: what the graph is said to take, if it is not true."""
    data = network(outputs=OUTPUTS, frames=frames == "uint8", **options)
    outputs = (*OUTPUTS, EXTENT) if frames == "uint8" else OUTPUTS
    return Graph(lambda: data, "fp32", "image", outputs, frames=stated or frames)


def engine_of(backend: str, graph: Graph) -> Engine:
    way = Candidate(backend, "cpu", "fp32")
    return backend_of(way).open(graph, way, 1)


class Noting(OnnxRuntimeEngine):
    """ONNX Runtime that says it likes some frames at once, and keeps what it was given."""

    def __init__(self, graph: Graph, preferred_batch: int = 1) -> None:
        super().__init__(graph, 1, None)
        self.preferred_batch = preferred_batch
        self.seen: list[NDArray[Any]] = []

    def infer(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self.seen.append(images)
        return super().infer(images)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("frames") / "bundle"
    return make_bundle(made, graph=network(outputs=OUTPUTS), outputs=OUTPUTS)


@pytest.fixture
def session(folder: Path) -> Iterator[BundleSession]:
    with open_session(Bundle.open(folder), precision="fp32", backend=INSTALLED[-1], threads=1) as opened:
        yield opened


def pictures(count: int = 3, size: int = 32, width: int = 0) -> Pictures:
    return np.stack([sample(size, number, width=width) for number in range(count)])


def levels(one: Pictures, other: Pictures) -> int:
    """The largest difference; libraries add in another order where there are other nodes at the ends."""
    return int(np.abs(one.astype(int) - other).max())


def equal(one: Result, other: Result) -> bool:
    """All but the times."""
    pairs = ((one.image, other.image), (one.occlusion, other.occlusion))
    return one.fault == other.fault and all(
        np.array_equal(a, b) if a is not None and b is not None else a is b for a, b in pairs
    )


# --- graphs that take frames ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_graph_that_takes_frames_gives_the_pictures_of_its_floats(backend: str) -> None:
    floats, frames = (engine_of(backend, graph_of(kind)) for kind in ("float32", "uint8"))
    for given in (pictures(), pictures(2, 64, 48)):
        wanted, found = (answers_of(engine, given, SIGNED) for engine in (floats, frames))
        assert found.faces.shape == given.shape and found.faces.dtype == np.uint8
        assert levels(found.faces, wanted.faces) <= 1 and found.faces.std() > 20
        assert found.occlusion is not None and wanted.occlusion is not None
        assert found.occlusion.shape == (len(given), given.shape[1] // 4, given.shape[2] // 4)
        assert levels(found.occlusion, wanted.occlusion) <= 1 and found.occlusion.std() > 1
        assert found.faults == wanted.faults == ("",) * len(given)


@pytest.mark.parametrize("frames", ["float32", "uint8"])
@pytest.mark.parametrize("backend", INSTALLED)
def test_the_nan_of_one_frame_is_no_other_ones(backend: str, frames: Frames) -> None:
    """The second of three is the brightest, and this network has no face for such a one."""
    given = pictures()
    given[1] = np.maximum(given[1], 180)
    wanted = answers_of(engine_of(backend, graph_of(frames)), given, SIGNED)
    answers = answers_of(engine_of(backend, graph_of(frames, nan_above=0.4)), given, SIGNED)
    assert wanted.faults == ("", "", "")
    assert (answers.faults[0], answers.faults[2]) == ("", "")
    assert answers.faults[1].endswith("of the output face is NaN or infinite")
    assert levels(answers.faces[::2], wanted.faces[::2]) <= 1
    assert not answers.faces[1].any()


@pytest.mark.parametrize("backend", INSTALLED)
def test_a_graph_of_another_type_than_the_stated_is_not_opened(backend: str) -> None:
    kinds: tuple[tuple[Frames, Frames], ...] = (("float32", "uint8"), ("uint8", "float32"))
    for kind, stated in kinds:
        with pytest.raises(DeviceError, match=r"the graph's image is (of type|a) .*, wanted"):
            engine_of(backend, graph_of(kind, stated=stated))


@needs_onnxruntime
def test_frames_reach_such_an_engine_as_they_are(session: BundleSession) -> None:
    given = pictures()
    wanted = session.translate(given)
    engine = Noting(graph_of("uint8"))
    session.replace(engine, VARIANT, WAY, "it takes frames")
    found = session.translate(given)
    assert len(engine.seen) == 2  # the first is the self-test's
    assert np.shares_memory(engine.seen[1], given)
    assert session.info.self_test.psnr > 60
    assert levels(found.faces, wanted.faces) <= 1
    with pytest.raises(ConfigError, match=r"a graph that takes frames.*; wanted `translate`, or another"):
        session.run(np.zeros((1, 3, 32, 32), np.float32))


@needs_onnxruntime
def test_another_network_that_takes_frames_never_takes_the_place(session: BundleSession) -> None:
    for options, message in (
        ({"seed": 5}, "golden image face comes out differently"),
        ({"nan_above": -1.0}, "golden image face: some of the output face is NaN or infinite"),
        ({"occlusion_times": 0.0}, "golden image face: the output occlusion is 0 everywhere"),
    ):
        with pytest.raises(DeviceError, match=message):
            session.replace(Noting(graph_of("uint8", **options)), VARIANT, WAY, "it takes frames")


@pytest.mark.parametrize("backend", INSTALLED)
def test_the_pipeline_gives_its_pictures_with_such_an_engine(backend: str, folder: Path) -> None:
    frames = [sample(100, width=140), noise(64), sample(40, 3), np.full((32, 32, 3), 9, np.uint8)]
    with open_session(Bundle.open(folder), precision="fp32", backend=backend, threads=1) as session:
        pipeline = Pipeline(session, CONTRACT)
        before = pipeline.translate(frames)
        engine = engine_of(backend, graph_of("uint8"))
        session.replace(engine, VARIANT, Candidate(backend, "cpu", "fp32"), "it takes frames")
        assert [bool(result.fault) for result in before] == [False, False, False, True]
        for one, other in zip(before[:3], pipeline.translate(frames), strict=False):
            assert one.image is not None and other.image is not None and not other.fault
            assert one.occlusion is not None and other.occlusion is not None
            assert levels(one.image, other.image) <= 2 and levels(one.occlusion, other.occlusion) <= 2


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 3, 32, 32), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.zeros((1, 30, 32, 3), np.uint8),
        np.zeros((1, 4, 8, 3), np.uint8),
    ],
)
def test_what_is_no_frames_never_reaches_an_engine(frames: Any, session: BundleSession) -> None:
    with pytest.raises(ConfigError, match=r"wanted (uint8 \(N, H, W, 3\) RGB|multiples of 4, 8 or more)"):
        session.translate(frames)


def test_frames_of_any_strides(session: BundleSession) -> None:
    whole = pictures(4, 64)
    for given in (whole[::2, ::2, ::2], whole[:, ::-1], whole[..., ::-1]):
        found = session.translate(given).faces
        assert np.array_equal(found, session.translate(given.copy()).faces)


def test_shapes_and_values_that_no_such_graph_may_give() -> None:
    images = (2, 16, 24, 3)
    face, hidden = np.zeros(images, np.uint8), np.zeros((2, 4, 6), np.uint8)
    extent = np.zeros((2, 2), np.float32)
    good: dict[str, NDArray[Any]] = {"face": face, "occlusion": hidden, EXTENT: extent}
    assert shape_fault(good, images, "uint8") == ""
    for name, array in (
        ("face", face[:1]),
        ("face", face.transpose(0, 3, 1, 2)),
        ("occlusion", hidden[:1]),
        ("occlusion", hidden[:, None]),
        ("occlusion", hidden[:, :0]),
        ("occlusion", np.zeros((2, 17, 6), np.uint8)),
        (EXTENT, extent[:1]),
        (EXTENT, extent[0]),
    ):
        wrong = shape_fault({**good, name: np.asarray(array)}, images, "uint8")
        assert f"the network gave {name} " in wrong
    assert range_fault("face", -1.005, 1.005, SIGNED) == ""
    assert "reaches from -1.5 to 1, wanted -1 to 1" in range_fault("face", -1.5, 1.0, SIGNED)
    for low, high in ((np.nan, np.nan), (-np.inf, 1.0), (0.0, np.inf)):
        assert "some of the output face is NaN" in range_fault("face", low, high, SIGNED)


# --- several at once ------------------------------------------------------------------------------------


def at_once(session: BundleSession, count: int, frames: Frames = "float32", **options: Any) -> Noting:
    """The session's engine from here on."""
    engine = Noting(graph_of(frames, **options), count)
    session.replace(engine, VARIANT, WAY, "it likes several")
    engine.seen.clear()
    return engine


@needs_onnxruntime
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_pictures_are_equal_whether_one_or_four_are_translated_at_once(
    kind: Frames, session: BundleSession
) -> None:
    """With a flat frame in a batch, and other canvases between; results in the frames' order."""
    frames = [sample(64, number) for number in range(6)]
    frames += [sample(64, number, width=48) for number in range(5)]
    frames += [np.full((64, 64, 3), 7, np.uint8), sample(32, 9), sample(96, 8)]
    pipeline = Pipeline(session, CONTRACT)
    engine = at_once(session, 1, kind)
    alone = pipeline.translate(frames)
    assert {len(given) for given in engine.seen} == {1} and pipeline.preferred_batch == 1
    engine = at_once(session, 4, kind)
    assert session.info.preferred_batch == pipeline.preferred_batch == 4
    together = pipeline.translate(frames)
    assert [len(given) for given in engine.seen] == [4, 2, 4, 1, 2]
    assert all(map(equal, alone, together)) and len(together) == len(frames)
    assert [number for number, result in enumerate(together) if result.fault] == [11]
    faces = [result.image.tobytes() for result in together if result.image is not None]
    assert len(set(faces)) == len(frames) - 1


@needs_onnxruntime
def test_times_of_a_batch_are_shared_and_sum_up_to_its_own(session: BundleSession) -> None:
    engine = at_once(session, 4)
    results = Pipeline(session, CONTRACT).translate([*pictures(3), np.full((32, 32, 3), 7, np.uint8)])
    assert [len(given) for given in engine.seen] == [3]
    times = [result.timings for result in results]
    assert times[0].network == times[1].network == times[2].network > 0
    assert all(each.pre > 0 for each in times) and all(each.post > 0 for each in times[:3])
    assert (times[3].network, times[3].post) == (0.0, 0.0)


@needs_onnxruntime
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_broken_frame_of_a_batch_is_refused_alone(kind: Frames, session: BundleSession) -> None:
    frames = [sample(32, number) for number in range(4)]
    frames[2] = np.maximum(frames[2], 180)
    pipeline = Pipeline(session, CONTRACT)
    at_once(session, 1, kind)
    alone = pipeline.translate(frames)
    engine = at_once(session, 4, kind, nan_above=0.4)
    together = pipeline.translate(frames)
    assert [len(given) for given in engine.seen] == [4]
    assert together[2].image is None and "NaN or infinite" in together[2].fault
    for number in (0, 1, 3):
        one, other = alone[number].image, together[number].image
        assert one is not None and other is not None and levels(one, other) <= 1


@needs_onnxruntime
def test_a_picture_that_cannot_be_taken_stops_a_call_before_its_batches(session: BundleSession) -> None:
    engine = at_once(session, 4)
    with pytest.raises(DataError, match="found a picture of 1x1"):
        Pipeline(session, CONTRACT).translate([*pictures(5), np.zeros((1, 1, 3), np.uint8)])
    assert engine.seen == []
