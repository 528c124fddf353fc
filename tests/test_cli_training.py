"""The command as its users run it: what it prints, its exit codes, and what it leaves behind."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_helpers import getgan, one_line

from getgan.export.guardfiles import Made, saved_guard
from getgan.models.checkpoint import load_checkpoint

TINY = [
    "data.size=32",
    "data.count=8",
    "model.ngf=2",
    "model.ndf=2",
    "model.discriminator_layers=2",
    "model.shared_blocks=1",
    "model.branch_blocks=1",
    "model.reverse_blocks=1",
    "optim.iterations=4",
    "run.probe_images=4",
    "run.threads=1",
    "run.log_every=2",
]


def trained(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    sets = [part for item in (*TINY, *more) for part in ("--set", item)]
    return getgan("train", "-o", folder, *sets)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    done = trained(folder)
    assert done.returncode == 0, done.stderr
    assert "last.safetensors: guard: refuses 1.0% of such scans on the average" in done.stdout
    return folder


def test_train_leaves_checkpoints_log_and_samples(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.toml", "log.jsonl", "samples", "last.safetensors", "last.reverse.safetensors"}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "losses" in line] == [2, 4]
    assert {"gan_y", "rec_x", "gan_x", "rec_y", "idt_y", "idt_x", "disc_y", "disc_x", "error_rec"} <= set(
        lines[0]["losses"]
    )
    samples = list((run / "samples").glob("*.png"))
    assert len(samples) == 1
    assert not list(run.rglob("*.tmp"))


def test_train_leaves_a_guard_of_the_checkpoint(run: Path) -> None:
    checkpoint = run / "last.safetensors"
    found = saved_guard(checkpoint, load_checkpoint(checkpoint).sha256 or "")
    assert isinstance(found, Made) and found.calibration.tested == 300
    assert found.about == "rendered scans of 32 px that no training sees"


def test_train_json_is_one_object(tmp_path: Path) -> None:
    sets = [part for item in TINY for part in ("--set", item)]
    done = getgan("train", "-o", tmp_path / "r", "--json", *sets)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["iteration"], summary["of"]) == (4, 4)


def test_a_second_run_does_not_overwrite_the_first(run: Path) -> None:
    before = (run / "last.safetensors").read_bytes()
    again = trained(run)
    assert again.returncode == 1
    assert "--resume" in one_line(again)
    assert (run / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("loss.lambda_reck=1", "did you mean lambda_rec"),
        ("los.lambda_rec=1", "did you mean loss"),
        ("optim.lr=fast", "wanted float"),
        ("run.precision=fp8", "wanted one of fp32, bf16, fp16"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path: Path, setting: str, words: str) -> None:
    done = trained(tmp_path / "r", setting)
    assert done.returncode == 1
    assert words in one_line(done)
    assert not (tmp_path / "r").exists()


def test_a_wrong_key_in_the_file_names_file_and_nearest_key(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[optim]\nitertions = 5\n")
    done = getgan("train", tmp_path / "c.toml", "-o", tmp_path / "r")
    assert done.returncode == 1
    assert "c.toml" in one_line(done) and "did you mean iterations?" in one_line(done)


@pytest.mark.parametrize(("images", "found"), [(0, "no image"), (1, "one image")])
def test_too_few_images_is_one_line(tmp_path: Path, images: int, found: str) -> None:
    for name in ("trainA", "trainB"):
        (tmp_path / name).mkdir()
        for n in range(images):
            cv2.imwrite(str(tmp_path / name / f"{n}.png"), np.zeros((40, 40, 3), np.uint8))
    done = getgan("train", "--data", tmp_path, "-o", tmp_path / "r")
    assert done.returncode == 1
    assert found in one_line(done)


def test_evaluate_writes_the_page_and_prints_json(run: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", f"ours={run / 'last.safetensors'}", "--scenes", "4", "--seeds", "0"]
    done = getgan(*arguments, "-o", tmp_path / "page", "--json", "--no-perceptual", "--threads", "1")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "page" / "report.json").read_text())
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "index.html",
        "report.json",
        "pictures.png",
    }


@pytest.mark.parametrize("name", ["nothing.safetensors", "run.state.pt"])
def test_evaluate_refuses_what_is_no_checkpoint(run: Path, tmp_path: Path, name: str) -> None:
    done = getgan("evaluate", run / name, "-o", tmp_path / "page", "--scenes", "4")
    assert done.returncode == 1
    assert name in one_line(done)
    assert not (tmp_path / "page").exists()


def test_evaluate_refuses_a_foreign_page_before_its_minutes(run: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    done = getgan("evaluate", run / "last.safetensors", "-o", tmp_path, "--scenes", "4")
    assert done.returncode == 1
    assert "index.html is there already" in one_line(done)
    assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_faces_writes_a_data_set_that_can_be_trained_on(tmp_path: Path) -> None:
    made = getgan("faces", "--dataset", "-o", tmp_path / "d", "--size", "40", "--count", "3")
    assert made.returncode == 0, made.stderr
    assert len(list((tmp_path / "d" / "trainA").iterdir())) == 3
    sets = [part for item in TINY for part in ("--set", item)]
    sets += ["--set", "data.load_size=36"]
    done = getgan("train", "--data", tmp_path / "d", "-o", tmp_path / "r", *sets)
    assert done.returncode == 0, done.stderr
    # A checkpoint may leave the house: it must not carry the path of the data, which can name a patient.
    assert str(tmp_path).encode() not in (tmp_path / "r" / "last.safetensors").read_bytes()


def test_bench_train_prints_the_ratio() -> None:
    options = ("--size", "32", "--ngf", "2", "--rounds", "3", "--threads", "1")
    done = getgan("bench", "train", *options, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    times = result["seconds"]
    assert {len(each) for each in times.values()} == {3}
    by_hand = sorted(a / b for a, b in zip(times["getgan joint"], times["cyclegan"], strict=True))[1]
    assert result["ratio_to_cyclegan"]["getgan joint"] == pytest.approx(by_hand)
    assert result["ratio_to_cyclegan"]["cyclegan"] == 1.0


@pytest.mark.parametrize("method", ["getgan", "distil"])
def test_bench_train_times_a_recipe(method: str, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    nets = f"[model]\nmethod = '{method}'\nwidths = [2, 3, 4]\nndf = 2\n"
    nets += "[loss]\ntransplant = true\n[optim]\nbatch = 2\n"
    recipe.write_text(nets + "[data]\nsize = 64\n[run]\nprecision = 'bf16'\n")
    options = ("--size", "32", "--ngf", "2", "--rounds", "1", "--threads", "1")
    done = getgan("bench", "train", *options, "--recipe", recipe)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["cyclegan", "own"]


def test_help_names_every_command() -> None:
    text = getgan("--help").stdout
    for name in (
        "inspect",
        "export",
        "verify",
        "run",
        "doctor",
        "demo",
        "train",
        "evaluate",
        "faces",
        "bench",
    ):
        assert re.search(rf"^  {name} ", text, re.MULTILINE)
