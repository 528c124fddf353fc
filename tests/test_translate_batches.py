"""A run that hands several frames to the network at once: the same pictures, failures and order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backend_helpers import needs_onnxruntime
from bundle_helpers import VARIANT, make_bundle, network, noise, sample
from frame_helpers import (
    FakePipeline,
    Picture,
    mjpeg_server,
    open_sink,
    picture,
    read_video,
    run,
    write_folder,
    write_video,
)

from getgan.errors import DataError, DeviceError
from getgan.runtime.backends import Candidate, Graph
from getgan.runtime.backends.onnxruntime import OnnxRuntimeEngine
from getgan.runtime.bundle import Bundle
from getgan.runtime.images import write_image
from getgan.runtime.media.frames import Pending
from getgan.runtime.media.sources import open_source
from getgan.runtime.media.video import VideoFile
from getgan.runtime.pipeline import Pipeline, Result
from getgan.runtime.session import open_session
from getgan.runtime.summary import Failure, Progress
from getgan.runtime.translate import translate


class Batching(FakePipeline):
    """Likes three frames at once, and notes how many it got each time; takes none of 20 pixels."""

    preferred_batch = 3

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.calls: list[int] = []

    def translate(self, frames: Sequence[Picture], /) -> list[Result]:
        self.calls.append(len(frames))
        if any(frame.shape[0] == 20 for frame in frames):
            raise DataError("found 20 rows; wanted 24")
        return super().translate(frames)


def test_what_fails_in_a_batch_costs_itself_alone_and_keeps_its_turn(tmp_path: Path) -> None:
    """Skipped, damaged, of a wrong size and refused among good ones."""
    names = [f"{number}.png" for number in range(1, 9)]
    write_folder(tmp_path / "in", names)
    run(tmp_path / "in" / "2.png", tmp_path / "out")  # is there already
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    write_image(tmp_path / "in" / "5.png", picture(90, 20))
    write_image(tmp_path / "in" / "7.png", picture(0))
    told: list[Failure] = []
    progress: list[Progress] = []
    pipeline = Batching()
    summary = run(tmp_path / "in", tmp_path / "out", pipeline, told=told, progress=progress)
    assert [failure.name for failure in told] == ["3.png", "5.png", "7.png"]
    assert [failure.refused for failure in told] == [False, False, True]
    assert "20 rows" in told[1].reason
    assert (summary.translated, summary.skipped, summary.failed, summary.refused) == (4, 1, 2, 1)
    assert [each.done for each in progress] == list(range(1, 9))
    assert pipeline.calls == [1, 3, 1, 1, 1, 2]  # 1; 4 5 6, then each alone; 7 8
    run(tmp_path / "in", tmp_path / "alone")
    for name in ("1.png", "4.png", "6.png", "8.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_videos_frames_stay_in_order(tmp_path: Path) -> None:
    """Each is decoded before the reader goes on, and one that cannot be is a plate in its place."""
    write_video(tmp_path / "clip.avi", 10)

    class Torn(VideoFile):
        def __iter__(self) -> Iterator[Pending]:
            for pending in super().__iter__():
                yield pending if pending.index != 4 else Pending(pending.name, 4, pending.time, self._torn)

        def _torn(self) -> Picture:
            raise DataError("frame cannot be decoded; copy the file again")

    shown = []
    for pipeline in (FakePipeline(), Batching()):
        source = Torn(tmp_path / "clip.avi")
        out = tmp_path / f"{pipeline.preferred_batch}.avi"
        summary = translate(source, open_sink(out, source), pipeline)
        assert (summary.translated, summary.failed) == (9, 1)
        shown.append([frame.tobytes() for frame in read_video(out)])
    assert shown[0] == shown[1] and len(set(shown[0])) == 10


def test_what_came_before_a_videos_early_end_is_translated(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 60, size=(160, 120))
    data = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(data[: len(data) // 2])
    alone = run(tmp_path / "clip.avi", tmp_path / "alone.avi")
    pipeline = Batching()
    summary = run(tmp_path / "clip.avi", tmp_path / "o.avi", pipeline)
    assert "is cut off or damaged after frame" in summary.stopped == alone.stopped
    assert summary.translated == alone.translated == sum(pipeline.calls) > 5


def test_a_cameras_frame_waits_for_no_other(tmp_path: Path) -> None:
    pipeline = Batching(0.05)
    with mjpeg_server(12, fps=50.0) as url:
        summary = run(url, tmp_path / "o.avi", pipeline, timeout=2.0)
    assert set(pipeline.calls) == {1} and summary.translated == len(pipeline.calls) >= 2


def test_a_backend_that_breaks_in_a_batch_stops_the_run(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", [f"{number}.png" for number in range(1, 8)])

    class Broken(Batching):
        def translate(self, frames: Sequence[Picture], /) -> list[Result]:
            if self.calls:
                raise DeviceError("the GPU fell off the bus; dmesg")
            return super().translate(frames)

    summary = run(tmp_path / "in", tmp_path / "out", Broken())
    assert (summary.translated, summary.stopped) == (3, "the GPU fell off the bus; dmesg")


class FourAtOnce(OnnxRuntimeEngine):
    """The real library, with another wish."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, 1, None)
        self.preferred_batch = 4
        self.calls: list[int] = []

    def infer(self, images: Any) -> dict[str, Any]:
        self.calls.append(len(images))
        return super().infer(images)


@needs_onnxruntime
def test_files_are_equal_byte_for_byte_whether_one_or_four_go_through_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        write_image(tmp_path / "in" / f"{number}.png", sample(64, number))
    write_image(tmp_path / "in" / "6.png", sample(64, 6, width=90))
    write_image(tmp_path / "in" / "7.png", noise(64))
    graph = network()
    bundle = Bundle.open(make_bundle(tmp_path / "bundle", graph=graph))
    engine = FourAtOnce(Graph(lambda: graph, "fp32", "image", ("face",)))
    with open_session(bundle, precision="fp32", backend="onnxruntime", threads=1) as session:
        pipeline = Pipeline(session, bundle.manifest.contract)
        for name in ("alone", "together"):
            source = open_source(str(tmp_path / "in"))
            summary = translate(source, open_sink(tmp_path / name, source), pipeline)
            assert summary.translated == 8 and summary.stages.network > 0
            if name == "alone":
                session.replace(engine, VARIANT, Candidate("onnxruntime", "cpu", "fp32"), "it likes four")
    assert engine.calls == [1, 4, 2, 1, 1]  # the self-test; four; two, and two other canvases
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "together" / path.name).read_bytes()
