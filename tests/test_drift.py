"""Drift: what runs keep, the tests, the sentences and the page."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
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
from getgan.runtime.drift.compare import change_of, cliffs_delta, kolmogorov_smirnov, p_of_share
from getgan.runtime.drift.findings import findings_of, missing_of, sentences_of
from getgan.runtime.drift.series import DAY, Point
from getgan.runtime.drift.shares import shares_of
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


def test_a_change_is_found_where_it_is_whatever_single_values_do() -> None:
    rng = np.random.default_rng(3)
    for place in (8, 60, 93):
        values = rng.normal(size=100)
        values[place:] -= 3.0
        values[[2, place + 4]] = (-3.0, 0.0)  # one too early, and one that is as before
        start, p = change_of(values, range(1, 100), 5)
        assert abs(start - place) <= 2 and p < 0.02
        coarse, _ = change_of(values, range(10, 100, 10), 5)
        assert coarse in (place // 10 * 10, place // 10 * 10 + 10)
    ps = [change_of(rng.normal(size=30), range(1, 30), 5)[1] for _ in range(60)]
    assert 0.01 <= np.mean(np.array(ps) <= 0.1) <= 0.25
    assert change_of(rng.normal(size=5), range(1, 5), 5) == (0, 1.0)


def test_a_share_is_held_to_what_is_promised() -> None:
    assert p_of_share(np.zeros(50), 0.01) == 1.0
    refused = np.zeros(100)
    refused[:3] = 1.0
    assert p_of_share(refused, 0.01) == pytest.approx(0.0794, abs=1e-4)  # scipy's binom.sf(2, 100, 0.01)
    assert p_of_share(np.ones(2000), 0.01) < 1e-12
    # Of runs whose shares lie between, p is too large rather than too small.
    rng = np.random.default_rng(0)
    ps = [p_of_share(rng.beta(0.1, 0.9, 8), 0.1) for _ in range(400)]
    assert np.mean(np.array(ps) <= 0.1) <= 0.1
    assert p_of_share(np.full(8, 0.28), 0.01) < 1e-9
    assert p_of_share(np.full(3000, 0.9), 0.01) == 0.0 < p_of_share(np.array([0.5, *[0.0] * 7]), 0.01)


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
    (missing,) = missing_of(points, mapped.statistics)
    assert missing.name == "hidden" and "exported without --occlusion" in missing.why


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
    assert unknown.since == "file 7"


def test_what_was_never_usual_has_no_since(bundle: Path) -> None:
    """One of them just inside the band made a "since picture 94" of what all of them are."""
    statistics = statistics_of(bundle)
    colours = statistics.attributes[ATTRIBUTES.index("colour")].astype(float)
    rng = np.random.default_rng(2)
    dimmed = list(colours[0] * rng.uniform(0.7, 0.99, 100))
    dimmed[92] = float(colours[6])
    for timed in (False, True):
        (finding,) = [
            f for f in findings_of(points_of(dimmed, statistics), statistics, timed=timed) if f.drifted
        ]
        assert finding.words == "these pictures are greyer than most in the calibration"
        assert (finding.since, finding.units, finding.of) == ("", 100, 100)


def test_one_usual_picture_does_not_move_the_start(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    usual = [float(v) for v in statistics.attributes[ATTRIBUTES.index("colour")][5:95:3]]
    colours = [*np.random.default_rng(2).permutation(usual), *[1.0 + 0.1 * n for n in range(20)]]
    colours[29] = colours[45] = usual[15]
    (finding,) = [
        f for f in findings_of(points_of(colours, statistics), statistics, timed=False) if f.drifted
    ]
    assert (finding.since, finding.units, finding.of) == ("file 31", 20, 50)


def test_a_unit_without_a_value_is_counted_all_the_same(bundle: Path) -> None:
    """The first three made no face: the fourth of the faces is that of the seventh run."""
    statistics = statistics_of(bundle)
    warmth = ATTRIBUTES.index("face warmth")
    points = points_of([float(statistics.attributes[3][50])] * 40, statistics)
    values = [math.nan] * 3 + [float(statistics.attributes[warmth][50])] * 17 + [1000.0] * 20
    points = [
        replace(point, values=(*point.values[:warmth], value, *point.values[warmth + 1 :]))
        for point, value in zip(points, values, strict=True)
    ]
    found = {f.name: f for f in findings_of(points, statistics, timed=False, unit="run")}
    assert found["face warmth"].since == "run 21" and found["face warmth"].of == 37


def test_what_drifted_together_is_one_sentence(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    points = []
    for point in points_of([1.0] * 40, statistics):
        values = list(point.values)
        for name in ("brightness", "contrast"):
            values[ATTRIBUTES.index(name)] = 0.0
        values[ATTRIBUTES.index("face warmth")] = 1000.0
        points.append(replace(point, values=tuple(values)))
    told = sentences_of(findings_of(points, statistics, timed=False))
    assert "these pictures are darker, flatter and greyer than any in the calibration" in told
    assert "these faces are redder than any in the calibration" in told
    assert [sentence.count("these") for sentence in told] == [1, 1]


def test_refused_pictures_are_counted_by_runs(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    point = points_of([1.0], statistics)[0]

    def shown(refused: list[int], of: int = 22) -> tuple[Point, ...]:
        return tuple(
            replace(point, unit=str(run), kind="refused" if number < count else "ok")
            for run, count in enumerate(refused)
            for number in range(of)
        )

    refused, unusual = shares_of(shown([6] * 8), 0.01, timed=False, unit="run")
    assert refused.drifted and refused.p is not None and refused.p < 1e-6 and refused.h > 0.8
    assert refused.words == (
        "48 of 176 pictures (27.3 %) are refused, in 8 of 8 runs, where 1.0 % at most is promised"
    )
    assert not unusual.drifted and not unusual.beyond and unusual.p == 1.0
    # The frames of one bad run are one bad run.
    (once, _) = shares_of(shown([22, 0, 0, 0, 0, 0, 0, 0]), 0.01, timed=False, unit="run")
    assert once.beyond and not once.drifted and once.p is not None and once.p > 0.05
    (few, _) = shares_of(shown([6] * 3), 0.01, timed=False, unit="run")
    assert few.beyond and not few.drifted and few.p is None
    (later, _) = shares_of(shown([0] * 9 + [11] * 9), 0.01, timed=False, unit="run")
    assert later.drifted and (later.since, later.pictures, later.of) == ("run 10", 99, 198)
    assert later.words.startswith("since run 10, 99 of 198 pictures (50.0 %) are refused, in 9 of 9 runs")


def test_pictures_like_the_calibration_drift_nowhere_and_few_are_not_tested(bundle: Path) -> None:
    statistics = statistics_of(bundle)
    usual = [float(v) for v in statistics.attributes[ATTRIBUTES.index("colour")][2:98:4]]
    points = points_of(list(np.random.default_rng(1).permutation(usual)), statistics)
    assert not [f for f in findings_of(points, statistics, timed=True) if f.drifted]
    few = findings_of(points_of([1.0] * 4, statistics), statistics, timed=True)
    assert all(f.p is None and not f.drifted for f in few)
    assert all(f.words.endswith("was not tested: 4 files are too few") for f in few)
    (one, *_) = findings_of(points_of([1.0], statistics), statistics, timed=False, unit="run")
    assert one.words == "the pictures' score was not tested: 1 run is too few"


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
    assert [each.name for each in missing_of(points, older)] == ["face pose"]
    assert missing_of(points, recorded) == ()
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
    write_image(pictures / "14.png", np.zeros((32, 32, 3), np.uint8))
    page = tmp_path / "page.html"
    done = getgan("drift", bundle, pictures, "-o", page, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["headline"].startswith("since 6 May 2026 these pictures are farther from the usual, ")
    assert "and greyer than any in the calibration" in report["headline"]
    assert "; 6 of 12 pictures (50.0 %) are unusual, where 1.0 % at most is " in report["headline"]
    counts = [report[name] for name in ("pictures", "failed", "empty", "unusual")]
    assert counts == [12, 1, 1, 6]
    assert (report["first"], report["last"]) == ("1 May 2026", "12 May 2026")
    html = page.read_text("utf-8")
    assert "ince 6 May 2026 these pictures are greyer than any in the calibration" in html
    assert "Over 7 files since 6 May 2026: of 100 pairs" in html and "hidden was not compared" not in html
    assert html.count("<svg") == len(report["findings"]) + 2 and "<script" not in html
    assert "http" not in html and "<b>" not in html and "05.png" not in html
    text = getgan("drift", bundle, pictures, "-o", page)  # its own page may be replaced
    assert text.returncode == 0 and "drift    colour" in text.stdout


def test_an_own_guard_without_a_map_says_why_hidden_is_not_compared(tmp_path: Path, cache: Path) -> None:
    bundle = make_guarded(tmp_path / "own", outputs=("face",))
    done = getgan("drift", bundle, write_scans(tmp_path / "scans", grey_from=99, count=1))
    assert "hidden          not compared: there is no occlusion map: the bundle was exported" in done.stdout
    assert done.stdout.startswith(
        "1 file is too few for a test; wanted 5 or more\n1 picture of 1 file: 1 as "
    )
    assert "\nuntested brightness " in done.stdout and "\nok " not in done.stdout
    assert "not tested" not in done.stdout and "1 pictures" not in done.stdout + done.stderr


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
    assert [each["name"] for each in report["missing"]] == ["face pose"] and "greyer than any" in report[
        "headline"
    ]
    assert "face pose" not in {finding["name"] for finding in report["findings"]}
    text = getgan("drift", bundle, tmp_path / "scans").stdout
    assert "face pose       not compared: the calibration did not record it: calibrate again" in text


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


def test_many_refused_are_no_all_clear(bundle: Path, tmp_path: Path, cache: Path) -> None:
    """28 % refused where 1 % is promised, and the colours as ever."""
    for run in range(6):
        folder = tmp_path / f"run{run}"
        folder.mkdir()
        for number in range(6):
            picture = scan(700 + 6 * run + number)
            path = folder / f"{number}.png"
            write_image(path, np.ascontiguousarray(picture[::-1]) if number < 3 else picture)
        assert getgan("run", bundle, folder, "-o", tmp_path / f"faces{run}").returncode == 4
        if run in (0, 2, 5):
            done = getgan("drift", bundle, "-o", tmp_path / "page.html").stdout
            assert "like those of the calibration" not in done
            assert "are refused, in " in done.splitlines()[0]
            few = {
                0: "1 run is too few for a test, but 3 of 6 pictures (50.0 %)",
                2: "3 runs are too few for",
            }
            assert done.startswith(few.get(run, "18 of 36 pictures (50.0 %) are refused, in 6 of 6 runs"))
            assert ("\nuntested refused" in done) is (run < 5) and ("\nok " in done) is (run == 5)
    html = (tmp_path / "page.html").read_text("utf-8")
    for plot in html.split("<svg")[1:]:  # no label lies on another
        heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="end">[\d.e+-]+<', plot))
        assert len(heights) >= 2 and min(np.diff(heights)) >= 12
    assert '<h2 class="drift">18 of 36 pictures (50.0 %) are refused' in html
    assert "<h1>18 of 36 pictures" in html and "refused: share of each run's pictures" in html


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
