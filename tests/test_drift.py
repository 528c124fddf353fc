"""Drift: what runs keep, the tests, the sentences and the page."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_helpers import needs_onnxruntime
from bundle_helpers import make_bundle, noise
from cli_helpers import getgan, one_line
from frame_helpers import mjpeg_server
from guard_helpers import grey, make_guarded, scan

from getgan.errors import DataError
from getgan.runtime.bundle import Bundle
from getgan.runtime.drift import trail as trails
from getgan.runtime.drift.compare import cliffs_delta, kolmogorov_smirnov
from getgan.runtime.drift.findings import DAY, Point, findings_of, unrecorded
from getgan.runtime.drift.trail import HOUR, Trail, read_trail, trail_of
from getgan.runtime.guard.judge import Guard, Verdict
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.statistics import ATTRIBUTES, Statistics, bytes_from_statistics
from getgan.runtime.images import write_image
from getgan.runtime.manifest import MANIFEST_NAME, File, json_from_manifest, manifest_from_json
from getgan.runtime.pipeline import Pipeline, Result, Timings
from getgan.runtime.session import open_session

pytestmark = needs_onnxruntime


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_guarded(tmp_path_factory.mktemp("drifting") / "bundle")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- the tests -----------------------------------------------------------------------------------------


def test_cliffs_delta_counts_pairs() -> None:
    assert cliffs_delta(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1.0
    assert cliffs_delta(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.0
    assert cliffs_delta(np.array([0.0, 3.0, 1.5]), np.array([1.0, 2.0])) == 0.0


def test_p_is_uniform_without_a_difference_and_small_with_one() -> None:
    rng = np.random.default_rng(0)
    ps = [kolmogorov_smirnov(rng.normal(size=20), rng.normal(size=60))[1] for _ in range(60)]
    assert 0.01 <= np.mean(np.array(ps) <= 0.1) <= 0.25
    distance, p = kolmogorov_smirnov(rng.normal(2.0, 1.0, 20), rng.normal(size=60))
    assert distance > 0.5 and p == 0.001
    assert kolmogorov_smirnov(np.zeros(9), np.zeros(30)) == pytest.approx((0.0, 1.0))


# --- what is measured ----------------------------------------------------------------------------------


def test_without_an_occlusion_map_nothing_is_said_of_what_is_hidden(tmp_path: Path) -> None:
    """The checkpoint's guard was calibrated with its map; most bundles are exported without one."""
    bundle = Bundle.open(make_guarded(tmp_path / "plain", outputs=("face",)))
    guard = guard_of(bundle)
    assert guard is not None
    attributes = guard.statistics.attributes.copy()
    attributes[ATTRIBUTES.index("hidden")] = np.linspace(0.6, 0.65, attributes.shape[1])
    mapped = Guard(replace(guard.statistics, attributes=attributes), 0.65)
    with open_session(bundle) as session:
        pipeline = Pipeline(session, bundle.manifest.contract, None, mapped)
        results = pipeline.translate([scan(500 + number) for number in range(9)])
    points = [Point(None, str(n), "ok", result.attributes) for n, result in enumerate(results)]
    names = {finding.name for finding in findings_of(points, mapped.statistics, timed=False)}
    assert names == set(ATTRIBUTES) - {"hidden"}


# --- in words ------------------------------------------------------------------------------------------


def statistics_of(bundle: Path) -> Statistics:
    guard = guard_of(Bundle.open(bundle))
    assert guard is not None
    return guard.statistics


def points_of(colours: list[float], statistics: Statistics, per_day: int = 3) -> list[Point]:
    """A unit each, three a day from 1 May 2026 on, all the calibration's but for the colour."""
    start = time.mktime((2026, 5, 1, 12, 0, 0, 0, 0, -1))
    spread = np.random.default_rng(0).permutation(101)
    points = []
    for number, colour in enumerate(colours):
        values = statistics.attributes[:, spread[number % 101]].astype(float)
        values[ATTRIBUTES.index("colour")] = colour
        points.append(Point(start + number // per_day * DAY, str(number), "ok", tuple(values)))
    return points


def test_the_day_from_which_pictures_are_greyer_is_found(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    usual = [float(v) for v in statistics.attributes[ATTRIBUTES.index("colour")][10:90:8]]
    points = points_of([*usual[:6], *[1.0 + 0.1 * n for n in range(9)]], statistics)
    (finding,) = [f for f in findings_of(points, statistics, timed=True) if f.drifted]
    assert finding.name == "colour" and finding.delta == -1.0 and finding.p == 0.001
    assert finding.words == "since 3 May 2026 these pictures are greyer than any in the calibration"
    (unknown,) = [f for f in findings_of(points, statistics, timed=False) if f.drifted]
    assert unknown.since == "picture 7"


def test_pictures_like_the_calibration_drift_nowhere_and_few_are_not_tested(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    usual = [float(v) for v in statistics.attributes[ATTRIBUTES.index("colour")][2:98:4]]
    points = points_of(list(np.random.default_rng(1).permutation(usual)), statistics)
    assert not [f for f in findings_of(points, statistics, timed=True) if f.drifted]
    few = findings_of(points_of([1.0] * 4, statistics), statistics, timed=True)
    assert all(f.p is None and not f.drifted for f in few)
    assert any("too few for a test" in f.words for f in few)


def test_faces_that_turn_are_told_and_an_older_guard_says_that_it_has_no_pose(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    pose = ATTRIBUTES.index("face pose")
    attributes = statistics.attributes.copy()
    attributes[pose] = np.linspace(-0.2, 0.2, 101)
    recorded = replace(statistics, attributes=attributes)
    usual = float(attributes[ATTRIBUTES.index("colour")][50])
    points = [
        replace(point, values=(*point.values[:pose], 0.3)) for point in points_of([usual] * 9, recorded)
    ]
    words = {f.name: f.words for f in findings_of(points, recorded, timed=True) if f.drifted}
    assert words["face pose"] == (
        "these faces are turned farther to the picture's right than any in the calibration"
    )
    older = replace(
        statistics, attributes=np.where(np.arange(len(ATTRIBUTES))[:, None] == pose, 0, attributes)
    )
    assert unrecorded(older) == ("face pose",) and unrecorded(recorded) == ()
    assert "face pose" not in {f.name for f in findings_of(points, older, timed=True)}


# --- the command ---------------------------------------------------------------------------------------


def write_scans(folder: Path, *, grey_from: int, count: int = 12) -> Path:
    folder.mkdir()
    for number in range(count):
        picture = scan(600 + number)
        path = folder / f"{number:02d}.png"
        write_image(path, grey(picture) if number >= grey_from else picture)
        moment = time.mktime((2026, 5, 1, 12, 0, 0, 0, 0, -1)) + number * DAY
        os.utime(path, (moment, moment))
    return folder


def test_a_probe_that_turned_grey_is_told_with_its_day(bundle: Path, tmp_path: Path, cache: Path) -> None:
    pictures = write_scans(tmp_path / "<b>scans", grey_from=5)
    (pictures / "13.png").write_bytes(b"no picture")
    page = tmp_path / "page.html"
    done = getgan("drift", bundle, pictures, "-o", page, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "since 6 May 2026 these pictures are greyer than any in the calibration" in report["headline"]
    assert (report["pictures"], report["failed"], report["unusual"]) == (
        12,
        1,
        6,
    )
    assert (report["first"], report["last"]) == ("1 May 2026", "12 May 2026")
    html = page.read_text("utf-8")
    assert "ince 6 May 2026 these pictures are greyer than any in the calibration" in html
    assert html.count("<svg") == len(report["findings"]) and "<script" not in html
    assert "http" not in html and "<b>" not in html and "05.png" not in html
    text = getgan("drift", bundle, pictures, "-o", page)  # its own page may be replaced
    assert text.returncode == 0 and "drift colour" in text.stdout


def test_no_drift_is_said_so(bundle: Path, tmp_path: Path, cache: Path) -> None:
    done = getgan("drift", bundle, write_scans(tmp_path / "scans", grey_from=99))
    assert done.returncode == 0 and done.stdout.startswith("no drift was found")


def test_a_guard_from_before_the_pose_says_so_and_finds_the_rest(tmp_path: Path, cache: Path) -> None:
    bundle = make_guarded(tmp_path / "older")
    statistics = statistics_of(bundle)
    data = bytes_from_statistics(replace(statistics, attributes=statistics.attributes[:-1]))
    (bundle / "guard.npz").write_bytes(data)
    manifest = manifest_from_json((bundle / MANIFEST_NAME).read_bytes())
    manifest.files["guard.npz"] = File(len(data), hashlib.sha256(data).hexdigest())
    (bundle / MANIFEST_NAME).write_bytes(json_from_manifest(manifest))
    done = getgan("drift", bundle, write_scans(tmp_path / "scans", grey_from=0), "--json")
    report = json.loads(done.stdout)
    assert report["unrecorded"] == ["face pose"] and "greyer than any" in report["headline"]
    assert "face pose" not in {finding["name"] for finding in report["findings"]}
    text = getgan("drift", bundle, tmp_path / "scans").stdout
    assert "the calibration did not record the face pose: calibrate again" in text


def test_what_cannot_be_compared_is_one_line(bundle: Path, tmp_path: Path, cache: Path) -> None:
    pictures = write_scans(tmp_path / "scans", grey_from=99, count=1)
    mine = tmp_path / "mine.html"
    mine.write_text("<p>precious</p>")
    bare = make_bundle(tmp_path / "bare")
    for arguments, code, words in (
        ((bare, pictures), 1, "found no guard"),
        ((bundle,), 1, "found no record of this bundle's pictures"),
        ((bundle, pictures, "-o", mine), 1, "is no page of getgan drift"),
        ((bundle, pictures, "-o", tmp_path / "page.pdf"), 2, "ends in .html"),
    ):
        done = getgan("drift", *arguments)
        assert done.returncode == code and words in one_line(done)
    with mjpeg_server(50) as url:
        done = getgan("drift", bundle, url)
    assert done.returncode == 2 and "wanted files" in one_line(done)
    assert mine.read_text() == "<p>precious</p>"


# --- the record ----------------------------------------------------------------------------------------


def test_runs_keep_numbers_and_no_names(bundle: Path, tmp_path: Path, cache: Path) -> None:
    pictures = tmp_path / "PATIENT^NAME"
    pictures.mkdir()
    write_image(pictures / "DOE^JANE.png", scan(700))
    write_image(pictures / "noise.png", noise(32))
    for name in ("a", "b"):
        assert getgan("run", bundle, pictures, "-o", tmp_path / name).returncode == 4
    getgan("run", bundle, pictures, "-o", tmp_path / "c", "--no-record")
    getgan("run", bundle, pictures, "-o", tmp_path / "d", "--guard", "off")
    place = trail_of(Bundle.open(bundle).sha256)
    text = place.read_text()
    assert "DOE" not in text and "PATIENT" not in text and "noise" not in text
    assert place.is_relative_to(cache) and place.stat().st_mode & 0o077 == 0
    assert place.parent.stat().st_mode & 0o077 == 0
    rows = read_trail(Bundle.open(bundle).sha256)
    assert [row.kind for row in rows] == ["ok", "refused"] * 2
    assert len({row.run for row in rows}) == 2
    assert all(row.hour % HOUR == 0 and len(row.values) == len(ATTRIBUTES) for row in rows)
    assert rows[1].values[-1] is None  # no face was shown
    done = getgan("drift", bundle, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["units"] == 2


def test_the_record_has_an_end_and_survives_a_cut_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trails, "MAX_BYTES", 8000)
    values = tuple([0.5] * (len(ATTRIBUTES) - 1) + [math.nan])
    result = Result(None, "", None, Timings(0, 0, 0), Verdict("ok", 0.5), values)
    trail = Trail("a" * 64, still=True)
    for _ in range(200):
        trail.add(result)
    place = trail_of("a" * 64)
    files = sorted(place.parent.iterdir())
    assert len(files) == 2 and sum(file.stat().st_size for file in files) <= 8000
    count = len(read_trail("a" * 64))
    with open(place, "ab") as file:
        file.write(b'{"hour": 0, "ru')
    assert len(read_trail("a" * 64)) == count > 20
    camera = Trail("b" * 64, still=False)
    for _ in range(5):
        camera.add(result)
    assert len(read_trail("b" * 64)) == 1


def result(*values: float) -> Result:
    return Result(None, "", None, Timings(0, 0, 0), Verdict("ok", 0.5), values or (0.5,) * len(ATTRIBUTES))


def test_a_link_or_a_pipe_in_the_record_s_place_is_not_written_to(cache: Path, tmp_path: Path) -> None:
    place = trail_of("a" * 64)
    place.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("precious")
    place.symlink_to(tmp_path / "precious")
    Trail("a" * 64, still=True).add(result())
    assert (tmp_path / "precious").read_text() == "precious"
    place.unlink()
    os.mkfifo(place)  # a run waited here for ever
    Trail("a" * 64, still=True).add(result())
    with pytest.raises(DataError, match="found no record"):
        read_trail("a" * 64)
    place.unlink()
    place.symlink_to("/dev/zero")  # filled the memory
    with pytest.raises(DataError, match="found no record"):
        read_trail("a" * 64)


def test_a_record_that_others_can_change_is_not_used(cache: Path) -> None:
    Trail("a" * 64, still=True).add(result())
    place = trail_of("a" * 64)
    before = place.read_bytes()
    place.chmod(0o666)
    Trail("a" * 64, still=True).add(result())
    assert place.read_bytes() == before
    with pytest.raises(DataError, match="found no record"):
        read_trail("a" * 64)


def test_a_cut_line_takes_no_other_with_it(cache: Path) -> None:
    trail = Trail("a" * 64, still=True)
    trail.add(result())
    with open(trail_of("a" * 64), "ab") as file:
        file.write(b'\n{"hour": 0, "ru')  # and no more: the disk was full
    trail.add(result(*[math.inf] * len(ATTRIBUTES)))
    assert [row.values[0] for row in read_trail("a" * 64)] == [0.5, None]


@pytest.mark.parametrize(
    "line",
    [
        b'{"hour":1000000000000000000,"run":"a","kind":"ok","code":"","values":[1,1,1,1,1,1,1,1,1]}',
        b'{"hour":0,"run":"a","kind":"ok","code":"","values":[1e308,1,1,1,1,1,1,1,1]}',
        b'{"hour":0,"run":"a","kind":"<b>","code":"","values":[1,1,1,1,1,1,1,1,1]}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_no_run_wrote_is_left_out(cache: Path, line: bytes) -> None:
    Trail("a" * 64, still=True).add(result())
    with open(trail_of("a" * 64), "ab") as file:
        file.write(b"\n" + line)
    assert len(read_trail("a" * 64)) == 1


def test_an_older_run_s_line_counts_without_the_pose(cache: Path) -> None:
    Trail("a" * 64, still=True).add(result())
    with open(trail_of("a" * 64), "ab") as file:
        file.write(b'\n{"hour":0,"run":"b","kind":"ok","code":"","values":[1,1,1,1,1,1,1,1]}')
    assert [row.values[-1] for row in read_trail("a" * 64)] == [0.5, None]


def test_a_record_that_cannot_be_written_stops_no_run(bundle: Path, tmp_path: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "getgan").write_text("a file in the folder's place")
    write_image(tmp_path / "scan.png", scan(700))
    assert getgan("run", bundle, tmp_path / "scan.png", "-o", tmp_path / "face.png").returncode == 0
