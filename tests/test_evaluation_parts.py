"""The evaluation's formulas against values by hand, and its table, page and pictures."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from getgan.errors import OutputError
from getgan.runtime.images import read_image
from getgan.training.config import LossConfig
from getgan.training.evaluation import Origin, Report, report_from_json, table, write_page
from getgan.training.evaluation.intervals import estimate, t_975
from getgan.training.evaluation.maps import WEIGHT, aurocs, occlusion_maps
from getgan.training.evaluation.measures import dependence, identity, likeness, spread
from getgan.training.evaluation.options import Contestant
from getgan.training.evaluation.page import page
from getgan.training.evaluation.perceptual import kid
from getgan.training.evaluation.pictures import outlined, picture_of_map, sheet
from getgan.training.evaluation.pose import correlation, learn_pose_reader
from getgan.training.evaluation.report import Cell, Column, Gallery, Picture
from getgan.training.evaluation.rows import METRICS


def noise(count: int, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


# --- intervals ------------------------------------------------------------------------------------------


def test_one_checkpoint_is_judged_over_its_test_seeds() -> None:
    found = estimate([[1.0, 2.0, 3.0]])
    assert found is not None
    assert (found.mean, found.units, found.unit) == (2.0, 3, "test seed")
    assert found.half_width == pytest.approx(4.3027 * 1.0 / math.sqrt(3))  # t of 2 degrees, deviation 1


def test_several_checkpoints_are_judged_over_their_training_seeds() -> None:
    found = estimate([[1.0, 1.2], [2.0, 2.2]])
    assert found is not None
    assert found.mean == pytest.approx(1.6)
    assert (found.units, found.unit) == (2, "training seed")
    assert found.half_width == pytest.approx(12.7062 * math.sqrt(0.5) / math.sqrt(2))
    all_in_one_pot = 3.1824 * float(np.std([1.0, 1.2, 2.0, 2.2], ddof=1)) / 2
    assert found.half_width is not None and found.half_width > 5 * all_in_one_pot


def test_what_was_not_measured_is_left_out() -> None:
    assert estimate([[None, None]]) is None
    one = estimate([[None, 4.0]])
    assert one is not None
    assert (one.mean, one.half_width, one.units) == (4.0, None, 1)
    two = estimate([[None, None], [1.0, 3.0]])
    assert two is not None
    assert (two.mean, two.half_width, two.unit) == (2.0, None, "training seed")


def test_students_t() -> None:
    assert [t_975(n) for n in (1, 10, 30)] == [12.7062, 2.2281, 2.0423]
    assert t_975(31) == pytest.approx(2.0395, abs=1e-4)
    assert t_975(60) == pytest.approx(2.0003, abs=1e-4)
    assert t_975(10**9) == pytest.approx(1.95996, abs=1e-5)
    with pytest.raises(ValueError, match="wanted 1 or more"):
        t_975(0)


# --- formulas -------------------------------------------------------------------------------------------


def test_spread_is_the_mean_over_all_pairs() -> None:
    images = noise(5, size=8)
    pairs = [(a, b) for a in range(5) for b in range(a)]
    by_hand = np.mean([np.abs(images[a].astype(int) - images[b]).mean() for a, b in pairs])
    assert spread(images) == pytest.approx(by_hand)
    assert dependence(images, images) == 1.0
    assert dependence(np.repeat(images[:1], 5, axis=0), images) == 0.0


def test_identity_is_found_whatever_brightness_and_contrast() -> None:
    truth, face = noise(7), np.ones((7, 32, 32), np.bool_)
    dim = (truth // 3 + 20).astype(np.uint8)
    assert identity(dim, truth, face) == (100.0, 100.0)
    negative = 255 - truth
    assert identity(negative, truth, face) == (0.0, 0.0)
    top, rank = identity(np.roll(truth, 1, axis=0), truth, face)  # each gets its neighbour's photo
    assert top == 0.0
    assert rank < 90.0


def test_identity_looks_inside_the_face_only() -> None:
    truth = noise(7)
    face = np.zeros((7, 32, 32), np.bool_)
    face[:, 8:24, 8:24] = True
    made = np.where(face[..., None], truth, np.roll(truth, 1, axis=0))
    assert identity(made, truth, face) == (100.0, 100.0)


def test_a_region_that_is_too_small_is_left_out() -> None:
    truth = noise(2)
    made = truth.copy()
    made[0] ^= 64
    masks = np.zeros((2, 32, 32), np.bool_)
    masks[1, 8:20, 8:20] = True
    masks[0, 8, 8:17] = True  # 9 of 1,024 pixels
    assert likeness(truth, made, {"part": masks}) == {"psnr_part": 100.0, "ssim_part": pytest.approx(1.0)}
    nothing = likeness(truth, made, {"part": np.zeros_like(masks)})
    assert all(math.isnan(value) for value in nothing.values())


def test_aurocs_look_inside_the_face_only() -> None:
    face, mask = np.zeros((1, 32, 32), np.bool_), np.zeros((1, 32, 32), np.bool_)
    face[0, 4:28, 4:28] = True
    mask[0, 4:12, 4:28] = True
    values = mask.astype(np.float32)
    values[~face] = 5.0  # the surroundings score higher than anything
    found = aurocs({"good": values, "bad": -values, "flat": np.ones_like(values)}, mask, face)
    assert {name: each.tolist() for name, each in found.items()} == {
        "good": [1.0],
        "bad": [0.0],
        "flat": [0.5],
    }
    assert np.isnan(aurocs({"good": values}, np.zeros_like(mask), face)["good"]).all()


def test_kid_is_the_formula_written_out_and_near_zero_for_one_kind() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((x @ y / 3 + 1) ** 3)

    within_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    within_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert kid(a, b) == pytest.approx(within_a + within_b - 2 * between)
    draws = [kid(rng.normal(size=(50, 8)), rng.normal(size=(50, 8))) for _ in range(40)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / math.sqrt(40)  # unbiased
    assert kid(rng.normal(size=(50, 8)), rng.normal(0.5, 1, (50, 8))) > 5 * np.std(draws)


def test_the_pose_reader_reads_what_it_has_seen_and_between() -> None:
    rows, columns = np.mgrid[:32, :32]

    def blob(x: float, y: float) -> NDArray[np.uint8]:
        grey = 255 * np.exp(-((columns - 16 - x) ** 2 + (rows - 16 - y) ** 2) / 60)
        return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)

    places = np.array([(x, y) for x in range(-6, 7, 2) for y in range(-6, 7, 2)], np.float64)
    reader = learn_pose_reader(np.stack([blob(x, y) for x, y in places]), places)
    between = np.array([(-3.0, 1.0), (5.0, -5.0), (1.0, 3.0)])
    read = reader(np.stack([blob(x, y) for x, y in between]))
    assert np.abs(read - between).max() < 1.0


def test_correlation() -> None:
    up = np.array([1.0, 2.0, 4.0])
    assert correlation(3 * up + 1, up) == pytest.approx(1.0)
    assert correlation(-up, up) == pytest.approx(-1.0)
    assert correlation(np.ones(3), up) == 0.0
    # One picture, read three times with other roundings; a face that does turn, by little, counts.
    assert correlation(5.0 + 1e-11 * up, up) == 0.0
    assert correlation(5.0 + 1e-3 * up, up) == pytest.approx(1.0)


# --- table, page, pictures ------------------------------------------------------------------------------


def a_column(label: str, dependence_on_input: tuple[float, ...] = (0.8,), *, reason: str = "") -> Column:
    rows = len(dependence_on_input)
    cells = {metric.key: Cell(((0.25, 0.75),) * rows) for metric in METRICS}
    cells["dependence"] = Cell(tuple((value, value) for value in dependence_on_input))
    if reason:
        cells["auroc_gate"] = Cell(((None, None),) * rows, reason)
    origins = tuple(Origin("a.safetensors", "ab" * 32, "getgan", 1200) for _ in range(rows))
    return Column(label, "model", origins, cells)


def a_report(*columns: Column) -> Report:
    tile = Picture('x "quoted"', noise(1)[0])
    gallery = Gallery("Scene 1", (tile,), tuple((column.label, (tile, tile)) for column in columns))
    versions = {"getgan": "0.1.0", "torch": "2 < 3"}
    return Report(
        "2026-01-02T03:04:05+00:00", versions, 32, 6, (0, 1), None, "cpu", 1.5, columns, galleries=(gallery,)
    )


def test_the_table_is_aligned_and_fits() -> None:
    columns = [a_column(f"method {i}", reason="there is no gate") for i in range(9)]
    lines = table(a_report(*columns)).splitlines()
    figures = [line for line in lines if line.startswith("  ")]
    assert len([line for line in figures if "PSNR" in line]) == 4 * 3  # 4 regions; 9 columns in 3 blocks
    assert max(map(len, figures)) <= 100
    psnr = next(line for line in figures if "PSNR" in line)
    head = lines[lines.index(psnr) - 2]
    assert [head.index(name) + len(name) for name in ("method 0", "method 1")] == [
        psnr.index("±3.18") + 5,
        psnr.index("±3.18", psnr.index("±3.18") + 1) + 5,
    ]
    assert "0.50 ±3.18" in psnr  # 0.25 and 0.75: 12.7 * 0.354 / 1.414 = 3.18
    assert "- method 8: there is no gate" in lines


def test_a_collapse_shows_in_the_table_and_takes_the_trace_its_meaning() -> None:
    text = table(a_report(a_column("good"), a_column("bad", (0.1,)), a_column("mixed", (0.8, 0.2, 0.9))))
    assert "COLLAPSED" in text
    assert "COLLAPSED 1/3" in text
    trace = next(line for line in text.splitlines() if "trace of the occluder" in line)
    assert trace.split("v", 1)[1].split() == ["0.500", "±3.177", "(0.500)", "(0.500)"]
    assert "( ): not meaningful" in text
    assert "( ): not meaningful" not in table(a_report(a_column("good")))


class Checker(HTMLParser):
    """Collects tags, and fails where they do not close in order."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole_html_that_escapes_all_text() -> None:
    label = "<script>alert('&')</script>"
    checker = Checker()
    text = page(a_report(a_column(label, (0.1,), reason='no "gate" <here>'), a_column("other")))
    checker.feed(text)
    checker.close()
    assert checker.open == []
    tags = [tag for tag, _ in checker.seen]
    assert "script" not in tags
    assert "<script" not in text
    assert text.count("<h1>") == 1
    words = "".join(checker.words)
    assert label in words
    assert 'no "gate" <here>' in words
    assert "torch 2 < 3" in words
    assert "COLLAPSED" in words
    assert "ab" * 32 in words
    assert "http" not in text.replace("http-equiv", "")
    images = [attrs for tag, attrs in checker.seen if tag == "img"]
    assert len(images) == 5
    assert all((attrs["src"] or "").startswith("data:image/png;base64,") and attrs["alt"] for attrs in images)
    rows = [attrs for tag, attrs in checker.seen if tag == "th" and attrs.get("scope") == "row"]
    assert len(rows) == len(METRICS)


def test_the_folder_holds_page_document_and_pictures(tmp_path: Path) -> None:
    report = a_report(a_column("a"), a_column("b"))
    path = write_page(report, tmp_path / "new" / "folder")
    assert path.name == "index.html"
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "index.html",
        "pictures.png",
        "report.json",
    ]
    assert report_from_json((path.parent / "report.json").read_text("utf-8")) == report
    picture = read_image(path.parent / "pictures.png")
    assert np.array_equal(picture, sheet(report.galleries))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_page(report, tmp_path / "file" / "folder")


@pytest.mark.parametrize("name", ["index.html", "report.json", "pictures.png"])
@pytest.mark.parametrize("beside", ["", "[]", '{"schema": "other"}', "\x00", "[" * 100_000])
def test_a_page_replaces_no_file_but_an_earlier_evaluation(tmp_path: Path, name: str, beside: str) -> None:
    if beside:
        (tmp_path / "report.json").write_text(beside)
    (tmp_path / name).write_text(beside or "mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputError, match=r"is there already.*choose another folder"):
        write_page(a_report(a_column("a")), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_page_replaces_an_earlier_one(tmp_path: Path) -> None:
    """Also one of another version, and one that was cut off after its first file."""
    write_page(a_report(a_column("a")), tmp_path)
    (tmp_path / "index.html").unlink()
    (tmp_path / "report.json").write_text('{"schema": "getgan-evaluation", "version": 99}')
    report = a_report(a_column("b"))
    write_page(report, tmp_path)
    assert report_from_json((tmp_path / "report.json").read_text("utf-8")) == report
    assert ">b</th>" in (tmp_path / "index.html").read_text("utf-8")


def test_a_report_without_pictures_has_none(tmp_path: Path) -> None:
    report = report_from_json(a_report(a_column("a")).to_json())
    write_page(report, tmp_path)
    assert not (tmp_path / "pictures.png").exists()
    assert "<img" not in (tmp_path / "index.html").read_text("utf-8")


def test_an_outline_goes_round_the_mask_and_leaves_the_rest() -> None:
    image = np.full((16, 16, 3), 90, np.uint8)
    mask = np.zeros((16, 16), np.bool_)
    mask[4:10, 5:12] = True
    shown = outlined(image, mask)
    changed = (shown != 90).any(axis=2)
    assert shown.shape == (32, 32, 3)
    assert changed[8, 10] and changed[19, 23]
    assert not changed[:8].any()
    assert not changed[10:18, 12:22].any()


def test_a_map_is_shown_from_black_to_white() -> None:
    values = np.array([[0.2, 0.3], [0.4, 0.7]], np.float32)
    assert picture_of_map(values)[..., 0].tolist() == [[0, 51], [102, 255]]
    assert (picture_of_map(np.full((2, 2), 0.3, np.float32)) == 128).all()


def test_small_tiles_are_enlarged_in_the_sheet() -> None:
    tile = Picture("x", np.full((16, 16, 3), 200, np.uint8))
    shown = sheet([Gallery("Scene 1", (tile,), (("a", (tile,)),))])
    assert shown.shape[1] == 2 * (128 + 4)
    assert (shown[-132:-4, :128] == 200).all()
    assert cv2.cvtColor(shown[:36], cv2.COLOR_RGB2GRAY).max() > 150  # captions


def test_weight_is_made_as_its_run_made_it() -> None:
    """H explains all of x but a block; the error itself finds the whole of it, a gradient its rare signs."""
    x = torch.zeros(2, 3, 32, 32)
    x[0, :, 8:20, 8:20] = 0.8

    def weight(**options: object) -> NDArray[np.float32]:
        loss = LossConfig(**options)  # type: ignore[arg-type]
        contestant = Contestant("a", lambda a: a, reverse=lambda a: a, loss=loss)
        return occlusion_maps(contestant, x, torch.full_like(x, 0.05), {})[WEIGHT]

    residual, gradient = weight(weight_of="residual", weight_gain=3.0), weight()
    assert float(residual[0, 8:20, 8:20].min()) > 0.9
    assert float(residual[1].max()) < 0.1
    assert not np.allclose(residual, gradient)
