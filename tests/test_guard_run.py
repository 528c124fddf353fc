"""A whole run with a guard: faces for faces, cards for the rest, in every output, and never mixed up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backend_helpers import needs_onnxruntime
from bundle_helpers import make_bundle, noise, sample
from cli_helpers import getgan
from frame_helpers import mjpeg_server, read_video
from guard_helpers import grey, make_guarded, scan

from getgan.errors import BundleError
from getgan.runtime.bundle import Bundle
from getgan.runtime.guard.judge import Guard
from getgan.runtime.guard.load import guard_of
from getgan.runtime.guard.looks import LOOKS
from getgan.runtime.guard.tone import toned
from getgan.runtime.images import read_image, write_image
from getgan.runtime.label import add_label
from getgan.runtime.manifest import MANIFEST_NAME, manifest_from_json
from getgan.runtime.media.plate import BACKGROUND, CARDS, card, labelled_card, with_banner
from getgan.runtime.media.record import made_of, sidecar_of
from getgan.runtime.media.sidebyside import GAP
from getgan.runtime.media.videowriter import VideoSink
from getgan.runtime.pipeline import Pipeline, PipelineOptions
from getgan.runtime.session import open_session
from getgan.runtime.translate import reason_of
from getgan.training.faces import SceneConfig, render_ultrasound, seed_of

pytestmark = needs_onnxruntime
BIG = 240  # pixels: nothing is enlarged for the label


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_guarded(tmp_path_factory.mktemp("guarded") / "bundle")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    pictures = {
        "down": scan(500, BIG)[::-1],
        "grey": grey(scan(501, BIG)),
        "mirrored": scan(502, BIG)[:, ::-1],
        "noise": noise(BIG),
        "photo": sample(BIG),
        "scan": scan(503, BIG),
    }
    for name, picture in pictures.items():
        write_image(folder / f"{name}.png", np.ascontiguousarray(picture))
    return folder


def verdicts(folder: Path) -> dict[str, tuple[str, str]]:
    found = {}
    for path in sorted(folder.glob("*.png")):
        made = made_of(path)
        assert made is not None
        found[path.stem] = (made.verdict, made.reason)
    return found


def summary_of(*arguments: Any) -> tuple[int, dict[str, Any], str]:
    done = getgan("run", *arguments, "--json")
    return done.returncode, json.loads(done.stdout)["summary"], done.stderr


def test_a_folder_gives_faces_for_faces_and_cards_for_the_rest(
    bundle: Path, scans: Path, tmp_path: Path
) -> None:
    code, summary, told = summary_of(bundle, scans, "-o", tmp_path / "out")
    assert code == 4
    counted = {name: summary[name] for name in ("frames", "translated", "unusual", "not_face", "refused")}
    assert counted == {"frames": 6, "translated": 3, "unusual": 1, "not_face": 3, "refused": 0}
    assert "no face: down.png: the head is upside down" in told
    assert "no face: noise.png: not a face scan" in told
    assert summary["stages"]["looks"] > 0.0
    assert verdicts(tmp_path / "out") == {
        "down": ("refused", "upside-down"),
        "grey": ("unusual", "tones"),
        "mirrored": ("ok", ""),
        "noise": ("refused", "other"),
        "photo": ("refused", "other"),
        "scan": ("ok", ""),
    }
    for name, reason in (("down", "upside-down"), ("noise", "other"), ("photo", "other")):
        shown = labelled_card(reason, BIG, BIG, label=True)
        assert np.array_equal(read_image(tmp_path / "out" / f"{name}.png"), shown)
    assert np.ptp(read_image(tmp_path / "out" / "scan.png")[:200], axis=2).max() > 0  # a card is grey


def test_the_same_command_says_the_same_and_another_mode_mixes_nothing(
    bundle: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    getgan("run", bundle, scans, "-o", out)
    cards = {path.name: path.read_bytes() for path in out.glob("*.png")}
    code, again, told = summary_of(bundle, scans, "-o", out)
    assert (code, again["translated"], again["skipped"], again["not_face"]) == (4, 0, 3, 3)
    for line in ("down.png: the head is upside down", "noise.png: not a face scan", "photo.png: not a face"):
        assert f"no face: {line}" in told  # as the first time
    code, other, told = summary_of(bundle, scans, "-o", out, "--guard", "off")
    assert code == 1 and other["failed"] == 6
    assert "was made with guard refuse, wanted guard off" in told
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == cards
    code, over, _ = summary_of(bundle, scans, "-o", out, "--guard", "off", "--overwrite")
    assert code == 0 and over["translated"] == 6
    assert set(verdicts(out).values()) == {("", "")}


def test_an_unusual_scan_is_translated_with_matched_tones(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    with open_session(opened) as session:
        guard = guard_of(opened)
        assert guard is not None
        guarded = Pipeline(session, opened.manifest.contract, PipelineOptions(label=False), guard)
        plain = Pipeline(session, opened.manifest.contract, PipelineOptions(label=False))
        (result,) = guarded.translate([grey(scan(501))])
        assert result.verdict is not None and result.verdict.view is not None
        (matched,) = plain.translate([result.verdict.view])
        (unmatched,) = plain.translate([grey(scan(501))])
    assert result.image is not None and matched.image is not None and unmatched.image is not None
    assert np.array_equal(result.image, matched.image)
    assert not np.array_equal(result.image, unmatched.image)
    assert result.occlusion is not None and matched.occlusion is not None
    assert np.array_equal(result.occlusion, matched.occlusion)
    assert result.timings.looks > 0.0 and result.timings.total > result.timings.network


@pytest.mark.parametrize("kind", ["refused", "unusual"])
def test_of_an_unusual_scan_the_matched_tones_map_says_what_is_hidden(bundle: Path, kind: str) -> None:
    opened = Bundle.open(bundle)
    found = guard_of(opened)
    assert found is not None
    picture = grey(scan(501))
    with open_session(opened) as session:

        def hidden(view: Any) -> float:
            occlusion = session.translate(view[None]).occlusion
            assert occlusion is not None
            return float(occlusion.mean()) / 255.0

        first, matched = hidden(picture), hidden(toned(picture, found.statistics))
        assert first + 1e-4 < matched
        limit = (first + matched) / 2.0 if kind == "refused" else matched + 1e-4
        guard = Guard(found.statistics, limit, found.aspects)
        (result,) = Pipeline(session, opened.manifest.contract, None, guard).translate([picture])
    assert result.verdict is not None and result.verdict.kind == kind
    assert result.verdict.code == ("hidden" if kind == "refused" else "tones")


class Batches:
    """A session that says that four frames take less time together, and how many it was given."""

    def __init__(self, session: Any) -> None:
        self.session, self.info = session, replace(session.info, preferred_batch=4)
        self.given: list[int] = []
        self.outputs = session.outputs

    def translate(self, frames: Any) -> Any:
        self.given.append(len(frames))
        return self.session.translate(frames)


def test_each_frame_of_a_batch_has_its_own_verdict(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    with open_session(opened) as session:
        batches: Any = Batches(session)
        pipeline = Pipeline(batches, opened.manifest.contract, None, guard_of(opened))
        frames = [scan(500), noise(32), grey(scan(501)), scan(502)]
        results = pipeline.translate(frames)
    assert batches.given[0] == 4 and set(batches.given[1:]) == {1}
    assert [r.verdict.kind for r in results if r.verdict] == ["ok", "refused", "unusual", "ok"]
    assert [r.card for r in results] == [False, True, False, False]


def test_a_video_has_no_time_for_reasons_and_keeps_the_one_it_found(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    down = np.ascontiguousarray(scan(500)[::-1])
    with open_session(opened) as session:
        counted: Any = Batches(session)
        pipeline = Pipeline(counted, opened.manifest.contract, None, guard_of(opened), 1e9)
        (first,) = pipeline.translate([down])
        explained = len(counted.given)
        (second,) = pipeline.translate([down])
        later = len(counted.given) - explained
        pipeline.translate([scan(501)])
        (third,) = pipeline.translate([down])
    reasons = [each.verdict.code for each in (first, second, third) if each.verdict]
    assert reasons == ["upside-down", "upside-down", "other"]
    assert explained > later == 2


def test_too_much_hidden_is_refused(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    guard = guard_of(opened)
    assert guard is not None
    with open_session(opened) as session:
        strict = Pipeline(session, opened.manifest.contract, None, Guard(guard.statistics, 0.01))
        (result,) = strict.translate([scan(500)])
    assert result.verdict is not None and result.verdict.code == "hidden"


def test_every_view_shows_the_card(bundle: Path, scans: Path, tmp_path: Path) -> None:
    done = getgan("run", bundle, scans / "noise.png", "-o", tmp_path / "n.png", "--view", "all")
    assert done.returncode == 4 and "output: " in done.stdout
    shown = labelled_card("other", BIG, BIG, label=True)
    assert np.array_equal(read_image(tmp_path / "n.png"), shown)
    assert np.array_equal(read_image(tmp_path / "n-occlusion.png"), shown)
    beside = read_image(tmp_path / "n-side-by-side.png")
    assert beside.shape == (BIG, 2 * BIG + GAP, 3) and np.array_equal(beside[:, BIG + GAP :], shown)
    both = getgan("run", bundle, scans / "scan.png", "-o", tmp_path / "both", "--view", "both")
    assert both.returncode == 0
    assert sorted(p.parent.name for p in (tmp_path / "both").rglob("*.png")) == ["output", "side-by-side"]


def test_a_picture_of_one_colour_gets_a_card_and_no_network_run(bundle: Path, tmp_path: Path) -> None:
    """The probe is off the skin: a sonographer who looks for the face must see why there is none."""
    write_image(tmp_path / "black.png", np.zeros((BIG, BIG, 3), np.uint8))
    for view, name in (("output", "b.png"), ("side-by-side", "s.png")):
        source = tmp_path / "black.png"
        code, summary, told = summary_of(bundle, source, "-o", tmp_path / name, "--view", view)
        assert (code, summary["not_face"], summary["refused"]) == (4, 1, 0)
        assert "no face: black.png: too dark" in told
    shown = labelled_card("dark", BIG, BIG, label=True)
    assert np.array_equal(read_image(tmp_path / "b.png"), shown)
    assert np.array_equal(read_image(tmp_path / "s.png")[:, BIG + GAP :], shown)
    opened = Bundle.open(bundle)
    with open_session(opened) as session:
        counted: Any = Batches(session)
        frames = [np.full((32, 32, 3), 255, np.uint8), scan(500)]
        refuse, mark = (
            Pipeline(counted, opened.manifest.contract, PipelineOptions(guard=mode), guard_of(opened))
            for mode in ("refuse", "mark")
        )
        white, face = refuse.translate(frames)
        assert counted.given == [1]
        assert white.card and white.verdict is not None and white.verdict.code == "other"
        assert white.attributes == () and not face.card
        # There is no face to put a banner on.
        assert mark.translate(frames)[0].fault.startswith("the input is one flat colour")


def wide(number: int) -> Any:
    """A scan of 16:9 with a head of its usual size in the middle: the ground goes on to both sides."""
    beside = (16 * BIG // 9 - BIG) // 2
    return np.pad(scan(number, BIG), ((0, 0), (beside, beside), (0, 0)), mode="edge")


def test_a_scan_of_another_shape_is_told_what_to_do(bundle: Path, tmp_path: Path) -> None:
    scans = tmp_path / "wide"
    scans.mkdir()
    write_image(scans / "wide.png", wide(500))
    write_image(scans / "down.png", np.ascontiguousarray(wide(501)[::-1]))
    done = getgan("run", bundle, scans, "-o", tmp_path / "out")
    assert done.returncode == 4
    assert "no face: wide.png: the picture is too wide or too tall for what the guard" in done.stderr
    assert "too wide or too tall: 1 picture, which" in done.stdout and "--fit crop or --region" in done.stdout
    # What else is wrong is found all the same.
    assert verdicts(tmp_path / "out") == {"down": ("refused", "upside-down"), "wide": ("refused", "aspect")}
    again = getgan("run", bundle, scans, "-o", tmp_path / "out")
    assert "no face: wide.png: the picture is too wide" in again.stderr and "tall: 1 pict" in again.stdout
    shown = read_image(tmp_path / "out" / "wide.png")
    assert np.array_equal(shown, labelled_card("aspect", *wide(500).shape[:2], label=True))
    code, summary, _ = summary_of(bundle, scans / "wide.png", "-o", tmp_path / "square.png", "--fit", "crop")
    assert (code, summary["translated"], summary["aspect"]) == (0, 1, 0)


def test_inspect_says_the_aspects_and_an_older_bundle_has_none(tmp_path: Path) -> None:
    bundle = make_guarded(tmp_path / "bundle")
    assert "1.00 times as wide as high" in getgan("inspect", bundle).stdout
    manifest = json.loads((bundle / MANIFEST_NAME).read_bytes())
    del manifest["guard"]["aspects"]
    (bundle / MANIFEST_NAME).write_text(json.dumps(manifest))
    assert "aspects not recorded" in getgan("inspect", bundle).stdout
    found = guard_of(Bundle.open(bundle))
    assert found is not None and found.aspects is None


def test_a_guard_that_knows_no_aspects_or_has_this_one_looks_at_no_part(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    found = guard_of(opened)
    assert found is not None and found.aspects == (1.0, 1.0)
    looks = []
    with open_session(opened) as session:
        for aspects in ((1.0, 1.0), None, (1.0, 1.8)):
            counted: Any = Batches(session)
            guard = Guard(found.statistics, found.hidden_limit, aspects)
            pipeline = Pipeline(counted, opened.manifest.contract, None, guard)
            (result,) = pipeline.translate([wide(500)])
            looks.append(len(counted.given))
            assert result.verdict is not None
            assert (result.verdict.code == "aspect") is (aspects == (1.0, 1.0))
            counted.given.clear()
            pipeline.translate([scan(500, BIG)])
            assert counted.given == [1]  # what is known costs nothing
    # All but the first: matched tones, ten changes, and for a picture of another shape two more.
    assert len(LOOKS) == 10
    assert looks[0] == 3 < looks[1] == looks[2] == 2 + len(LOOKS) - 1  # there is no text to take out


def test_the_shipped_guard_finds_heads_too_small_and_too_large_and_a_cut_picture() -> None:
    """Rendered so, not enlarged: the surroundings are those that such a scan has."""
    scene = SceneConfig(size=64)
    opened = Bundle.open(Path(__file__).parents[1] / "examples" / "getgan-64.getgan")

    def drawn(scene: SceneConfig, number: int) -> Any:
        return render_ultrasound(scene, seed_of("ultrasound", "test", number)).ultrasound

    small = [drawn(replace(scene, scale=(0.35, 0.4)), number) for number in range(6)]
    large = [drawn(replace(scene, size=128), number)[32:96, 32:96] for number in range(10)]
    cut = [drawn(scene, number)[10:-11] for number in range(8)]  # 3:2
    with open_session(opened, precision="fp32", threads=1) as session:
        counted: Any = Batches(session)
        pipeline = Pipeline(counted, opened.manifest.contract, None, guard_of(opened))
        for pictures, code, least in ((small, "too-far", 5), (large, "too-near", 4), (cut, "aspect", 4)):
            counted.given.clear()
            results = pipeline.translate(list(pictures))
            codes = [result.verdict.code for result in results if result.verdict]
            assert codes.count(code) >= least and set(codes) <= {code, "other", "too-near"}, codes
            assert len(counted.given) <= len(pictures) * (1 + 13)


def test_mark_shows_the_face_with_a_banner(bundle: Path, scans: Path, tmp_path: Path) -> None:
    for mode in ("mark", "off"):
        for name in ("noise", "scan"):
            out = tmp_path / f"{name}-{mode}.jpg"
            done = getgan("run", bundle, scans / f"{name}.png", "-o", out, "--guard", mode)
            banner = (mode, name) == ("mark", "noise")
            assert done.returncode == (4 if banner else 0), done.stderr
            again = getgan("run", bundle, scans / f"{name}.png", "-o", out, "--guard", mode)
            for each in (done, again):
                assert ("shown with a banner: noise.png: not a face scan" in each.stderr) is banner
                assert ("1 no face scan (face shown with a banner)" in each.stdout) is banner
                assert "no face:" not in each.stderr and "no face shown" not in each.stdout
            record = json.loads(sidecar_of(out).read_bytes())
            assert record["recipe"]["guard"] == mode
            assert record["verdict"] == ("" if mode == "off" else "refused" if name == "noise" else "ok")
    marked, plain = (read_image(tmp_path / f"noise-{mode}.jpg").astype(int) for mode in ("mark", "off"))
    assert plain[:8].mean() > 60 and marked[:8].mean() < 40
    assert np.abs(marked[60:] - plain[60:]).mean() < 2.0
    assert np.array_equal(read_image(tmp_path / "scan-mark.jpg"), read_image(tmp_path / "scan-off.jpg"))


def test_each_card_has_words_for_a_later_run() -> None:
    codes = {path.stem for path in CARDS.glob("*.png")}
    assert len(codes) >= 9 and all(reason_of(code) != code for code in codes)
    assert reason_of("turned") == "the head lies on its side or the head is turned too far"


def test_the_readme_s_lines_tell_a_card_from_a_face(
    bundle: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    lines = readme.split("```python\n")[1].split("```")[0]
    (tmp_path / "face.getgan").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    for name, face in (("noise", False), ("scan", True)):
        (tmp_path / "scan.png").write_bytes((scans / f"{name}.png").read_bytes())
        exec(lines, {})
        assert ("no face scan: not a face scan" in capsys.readouterr().out) is not face
        assert (tmp_path / "face.png").exists() is face


def test_off_and_a_bundle_without_guard_say_so_at_every_start(
    bundle: Path, scans: Path, tmp_path: Path
) -> None:
    bare = make_bundle(tmp_path / "bare")
    for number in range(2):
        off = getgan("run", bundle, scans, "-o", tmp_path / "off", "--guard", "off", "--quiet")
        assert off.returncode == 0 and off.stderr.count("--guard off: nobody looks") == 1
        none = getgan("run", bare, scans, "-o", tmp_path / "none", "--quiet", "--json")
        assert none.returncode == 0 and none.stderr.count("no guard: this bundle") == 1, number
        assert json.loads(none.stdout)["guard"] == "none"
    guarded = getgan("run", bundle, scans / "scan.png", "-o", tmp_path / "on")
    assert "guard" not in guarded.stderr


def clip_of(path: Path, pictures: list[Any]) -> Path:
    sink = VideoSink(path, 10.0)
    for index, picture in enumerate(pictures):
        sink.put(index / 10.0, picture)
    sink.close(keep=True)
    return path


def test_a_video_shows_the_card_for_as_long_as_there_is_no_face(bundle: Path, tmp_path: Path) -> None:
    pictures = [scan(500, BIG)] * 3 + [noise(BIG)] * 3 + [scan(501, BIG)] * 2
    clip = clip_of(tmp_path / "clip.avi", pictures)
    done = getgan("run", bundle, clip, "-o", tmp_path / "out.avi")
    assert done.returncode == 4, done.stderr
    assert "frames that are no face scans: 3-5" in done.stdout
    assert done.stderr.count("no face: ") == 1  # once for one reason
    grey_share = [(np.ptp(f, axis=2) < 12).mean() for f in read_video(tmp_path / "out.avi")]
    assert [share > 0.98 for share in grey_share] == [False] * 3 + [True] * 3 + [False] * 2


def test_a_camera_gets_cards_too(bundle: Path, tmp_path: Path) -> None:
    with mjpeg_server(6, fps=10.0, noise=True) as url:
        done = getgan("run", bundle, url, "-o", tmp_path / "out", "--timeout", "1", "--json")
    summary = json.loads(done.stdout)["summary"]
    assert summary["not_face"] >= 1 and summary["translated"] == 0
    assert all(made_of(path) is not None for path in (tmp_path / "out").glob("*.png"))
    assert read_image(next((tmp_path / "out").glob("*.png")))[0, 0].tolist() == [BACKGROUND] * 3


@pytest.mark.parametrize(
    "code", ["aspect", "dark", "hidden", "other", "text", "too-far", "too-near", "turned"]
)
def test_cards_of_every_size_have_words(code: str) -> None:
    for height, width in ((64, 64), (80, 216), (240, 320), (1080, 1920), (300, 100)):
        shown = card(code, height, width)
        assert shown.shape == (height, width, 3) and shown.dtype == np.uint8
        ink = shown[:, :, 0] > 150
        assert 0.005 < ink.mean() < 0.3
        assert not ink[round(0.75 * height) :].any()  # the label's
    small, large = card(code, 64, 64)[:, :, 0] > 150, card(code, 240, 320)[:, :, 0] > 150
    lines = [int((np.diff(ink.any(axis=1).astype(int)) == 1).sum()) for ink in (small, large)]
    assert lines[0] == 1 and lines[1] >= 4


def test_a_banner_leaves_the_face_below_it() -> None:
    for side in (64, 240, 1000):
        face = np.full((side, side, 3), 128, np.uint8)
        marked = with_banner(add_label(face) if side > 216 else face)
        assert marked.shape == face.shape and (marked[0] == 0).all() and marked[: side // 8].max() > 200
        assert (marked[side // 4 : side // 2] == 128).all()


def test_a_run_at_another_size_says_at_which_the_guard_was_calibrated(
    bundle: Path, scans: Path, tmp_path: Path
) -> None:
    at_another = ("--size", "48")
    for options, told in (((), False), (at_another, True), ((*at_another, "--guard", "off"), False)):
        out = tmp_path / "-".join(("out", *options))
        done = getgan("run", bundle, scans / "scan.png", "-o", out, *options)
        assert ("the guard was calibrated at 32" in done.stderr) is told, done.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        {"aspects": [1.0, 1e308]},
        {"aspects": [5e-324, 1.0]},
        {"aspects": [1.5, 1.0]},
        {"share": 5},
        {"low": 9},
        {"low": 0.5, "high": 0.1},
        {"fitted": -5},
        {"tested": 10**30},
        {"studies": -1},
        {"hidden": -1},
    ],
)
def test_a_record_of_the_guard_that_no_calibration_makes_is_refused(
    bundle: Path, wrong: dict[str, Any]
) -> None:
    manifest = json.loads((bundle / MANIFEST_NAME).read_bytes())
    manifest_from_json(json.dumps(manifest).encode())
    manifest["guard"].update(wrong)
    with pytest.raises(BundleError, match=r"damaged manifest.json .*guard.*; export the bundle again"):
        manifest_from_json(json.dumps(manifest).encode())
