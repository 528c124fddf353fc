"""`getgan run`, `inspect`, `doctor` as the clinic has them: no PyTorch, no onnx."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from backend_helpers import needs_backend
from bundle_helpers import edit_manifest, make_bundle, sample
from cli_helpers import one_line
from frame_helpers import read_video
from pydicom.data import get_testdata_file

from getgan.runtime.images import read_image, write_image
from getgan.runtime.media.sidebyside import GAP

pytestmark = needs_backend

# A module that is None in sys.modules cannot be imported: the clinic's installation.
CLINIC = "import sys; sys.modules.update(torch=None, onnx=None, onnxscript=None, safetensors=None)\n"
MAIN = CLINIC + "from getgan.cli import main; sys.argv[0] = 'getgan'; main()"


def getgan(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(["a.png", "b/ü 2.jpg", "b/10.png"]):
        write_image(folder / name, sample(240, number))
    return folder


def test_a_folder_becomes_labelled_faces(bundle: Path, scans: Path, tmp_path: Path) -> None:
    done = getgan("run", bundle, scans, "-o", tmp_path / "faces")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 translated in ")
    assert " is the fastest way" in done.stderr
    for name in ("a.png", "b/ü 2.jpg.png", "b/10.png"):
        face = read_image(tmp_path / "faces" / name)
        assert face.shape == (240, 240, 3)
    plain = getgan("run", bundle, scans / "a.png", "-o", tmp_path / "plain.png", "--no-label")
    assert plain.returncode == 0, plain.stderr
    labelled, bare = read_image(tmp_path / "faces" / "a.png"), read_image(tmp_path / "plain.png")
    np.testing.assert_array_equal(labelled[:200], bare[:200])
    assert not np.array_equal(labelled[200:], bare[200:])


def test_a_dicom_clip_becomes_a_video_of_a_remembered_region(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    clip = Path(str(get_testdata_file("examples_ybr_color.dcm", download=False)))  # 30 frames, 320x240
    region = ("--region", "40,20,240,200", "--save-preset", "room-2")
    first = getgan("run", bundle, clip, "-o", tmp_path / "face.webm", *region)
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("30 translated in ")
    remembered = ("--preset", "room-2", "--view", "side-by-side")
    second = getgan("run", bundle, clip, "-o", tmp_path / "side.mp4", *remembered)
    assert second.returncode == 0 and "shown whole" not in second.stderr, second.stderr
    assert [frame.shape for frame in read_video(tmp_path / "face.webm")] == [(200, 240, 3)] * 30
    assert read_video(tmp_path / "side.mp4")[0].shape == (200, 480 + GAP, 3)
    record = json.loads((tmp_path / "side.mp4.getgan.json").read_bytes())
    assert record["recipe"]["region"] == "40,20,240,200"
    whole = getgan("run", bundle, clip, "-o", tmp_path / "whole.avi", "--view", "side-by-side")
    assert whole.returncode == 0 and whole.stderr.count("the source is shown whole") == 1
    for wrong in (("--region", "1,2,3"), ("--preset", "room-3"), ("--save-preset", "room-3")):
        done = getgan("run", bundle, clip, "-o", tmp_path / "no.avi", *wrong)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_json_says_what_ran_and_what_failed(bundle: Path, scans: Path, tmp_path: Path) -> None:
    (scans / "broken.png").write_bytes((scans / "a.png").read_bytes()[:500])
    done = getgan("run", bundle, scans, "-o", tmp_path / "faces", "--json", "--precision", "fp32")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["exit_code"], report["session"]["precision"]) == (1, "fp32")
    assert (report["summary"]["translated"], report["summary"]["failed"]) == (3, 1)
    (failure,) = report["summary"]["failures"]
    assert failure["name"] == "broken.png"
    assert done.stderr.splitlines()[1:] == [f"failed: broken.png: {failure['reason']}"]


def test_the_same_command_goes_on_and_another_one_does_not_mix(
    bundle: Path, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "faces"
    assert getgan("run", bundle, scans, "-o", out).returncode == 0
    (out / "a.png").unlink()
    assert "1 translated, 2 skipped" in getgan("run", bundle, scans, "-o", out).stdout
    other = getgan("run", bundle, scans, "-o", out, "--no-label")
    assert other.returncode == 1
    failed = [line for line in other.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3 and "was made with label True, wanted label False" in failed[0]
    assert "of an earlier run" not in other.stderr
    assert getgan("run", bundle, scans, "-o", out, "--no-label", "--overwrite").returncode == 0


def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(bundle: Path, scans: Path, tmp_path: Path) -> None:
    for number in range(400):
        write_image(scans / f"{number}.png", sample(240, number % 5))
    out = tmp_path / "faces"
    arguments = [sys.executable, "-c", MAIN, "run", str(bundle), str(scans), "-o", str(out)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "getgan: stopped"
    assert "interrupted: what is written is whole; the same command does what is missing" in told
    written = list(out.rglob("*.png"))
    assert 3 <= len(written) < 403
    for path in written:
        assert read_image(path).shape == (240, 240, 3)
    assert not list(out.rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "gone", "scans", "-o", "o"], "gone: is missing; wanted a bundle"),
        (["run", "bundle", "gone.png", "-o", "o"], "gone.png: no such file or folder"),
        (["run", "bundle", "scans", "-o", "/proc/o"], "cannot write into /proc/o"),
        (["inspect", "gone"], "gone: is missing; wanted a checkpoint file or a bundle"),
        (
            ["export", "scans", "-o", "o"],
            "safetensors, which are not installed: pip install 'getgan[export]'",
        ),
        (["train"], "needs torch, safetensors, which are not installed: pip install 'getgan[train]'"),
        (["evaluate", "scans"], "needs torch, safetensors, which are not installed"),
        (["bench", "train"], "needs torch, safetensors, which are not installed"),
        (["bench", "runtime"], "pip install 'getgan[export]'"),
        (["demo"], "pip install 'getgan[export,train]'"),
    ],
)
def test_what_cannot_work_is_one_line(
    arguments: list[str], words: str, bundle: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "bundle").symlink_to(bundle)
    done = getgan(*arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert words in one_line(done)
    assert done.stdout == ""
    assert not (tmp_path / "o").exists() or not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--device", "tpu", "wanted auto, cpu, cuda or cuda:N"),
        ("--precision", "int8", "wanted auto or one of this bundle's: fp32"),
        ("--backend", "tensorflow", "wanted auto, tensorrt, openvino, onnxruntime"),
        ("--size", "30", "wanted a multiple of"),
        ("--threads", "5000", "wanted 0 (all cores) to 1024"),
    ],
)
def test_a_value_that_an_option_never_takes_is_exit_code_2(
    option: str, value: str, words: str, bundle: Path, scans: Path, tmp_path: Path
) -> None:
    done = getgan("run", bundle, scans, "-o", tmp_path / "o", option, value)
    assert done.returncode == 2, done.stderr
    assert words in one_line(done)


def test_faces_need_no_torch(tmp_path: Path) -> None:
    done = getgan("faces", "-o", tmp_path / "sheet.png", "--size", "32", "--count", "1")
    assert done.returncode == 0, done.stderr


def test_what_a_strangers_bundle_says_moves_no_cursor(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "\x1b[2Jbundle"))
    model = json.loads((copy / "manifest.json").read_text())["model"]
    edit_manifest(copy, model={**model, "notes": "\x1b]0;title\x07\nfp32 forged \x9b2J"})
    told = getgan("inspect", copy)
    assert told.returncode == 0, told.stderr
    assert told.stdout.replace("\n", "").isprintable()
    assert "\nfp32 forged" not in told.stdout
    assert getgan("inspect", copy, "--json").stdout.isascii()
    edit_manifest(copy, **{"\x1b[31m\n": 1})
    for arguments in (("inspect", copy), ("run", copy, tmp_path, "-o", tmp_path / "o")):
        assert one_line(getgan(*arguments)).isprintable()
    assert getgan("doctor", copy).stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("o.png", "for many pictures; wanted a folder"),
        ("o.mp4", "for image files; wanted a folder"),
        ("o.pdf", "cannot write .pdf files"),
        ("scans/o", "lies in the input folder"),
    ],
)
def test_an_output_that_cannot_be_is_wrong_usage(
    output: str, words: str, bundle: Path, scans: Path, tmp_path: Path
) -> None:
    done = getgan("run", bundle, "scans", "-o", output, cwd=tmp_path)
    assert done.returncode == 2 and words in one_line(done)
    assert not (tmp_path / output).exists()


def test_wrong_usage_is_exit_code_2(bundle: Path, tmp_path: Path) -> None:
    assert getgan("run", bundle, tmp_path, "-o", "o", "--fit", "stretch").returncode == 2
    assert getgan("run", bundle).returncode == 2


@pytest.mark.parametrize("name", ["run", "inspect", "doctor"])
def test_a_damaged_bundle_is_never_used(name: str, tmp_path: Path, scans: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    graph = folder / "graphs" / "fp32.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    more = [str(scans), "-o", str(tmp_path / "o"), "--precision", "fp32"] if name == "run" else []
    done = getgan(name, folder, *more)
    assert done.returncode == 1
    assert "graphs/fp32.onnx is damaged or was altered" in done.stderr + done.stdout
    assert not list(tmp_path.glob("o/*.png"))


def test_a_bundle_of_a_later_version(tmp_path: Path, scans: Path) -> None:
    folder = make_bundle(tmp_path / "bundle")
    edit_manifest(folder, version=99)
    done = getgan("run", folder, scans, "-o", tmp_path / "o")
    assert "found bundle version 99; wanted at most 1" in one_line(done)


def test_inspect_tells_of_a_bundle(bundle: Path) -> None:
    text = getgan("inspect", bundle).stdout
    assert "every hash is right" in text and "\nfp32 " in text
    facts = json.loads(getgan("inspect", bundle, "--json").stdout)
    assert facts["manifest"]["format"] == "getgan-bundle"


def test_inspect_names_what_fp16_keeps() -> None:
    shipped = Path(__file__).resolve().parents[1] / "examples" / "getgan-256.getgan"
    text = getgan("inspect", shipped).stdout
    variants = json.loads(getgan("inspect", shipped, "--json").stdout)["manifest"]["variants"]
    kept = {variant["name"]: variant["plan"]["kept"] for variant in variants}
    assert kept["fp16"] and not kept["fp32"]
    for name, parts in kept.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{name:13s} accepted"))
        assert (f"; in FP32: {', '.join(parts)}; " in line) == bool(parts)


def test_doctor_runs_the_bundle(bundle: Path) -> None:
    done = getgan("doctor", bundle, "--json")
    diagnosis = json.loads(done.stdout)
    assert done.returncode == diagnosis["exit_code"]
    ran = [check for check in diagnosis["checks"] if check["name"].startswith("bundle on ")]
    assert any(check["status"] == "ok" and "pictures/s" in check["found"] for check in ran)
    lines = getgan("doctor").stdout.splitlines()
    assert {line.split()[0] for line in lines if line.strip() and line[0] != " "} <= {
        "ok", "none", "warn", "fault", "getgan",
    }  # fmt: skip


@pytest.mark.parametrize("closed", ["2>&-", ">/dev/full", "2>/dev/full"])
def test_a_stream_that_takes_nothing_ends_no_work(
    closed: str, bundle: Path, scans: Path, tmp_path: Path
) -> None:
    command = shlex.join(
        [sys.executable, "-c", MAIN, "run", str(bundle), str(scans), "-o", str(tmp_path / "o")]
    )
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if closed == ">/dev/full" else 0), done.stderr
    assert len(list((tmp_path / "o").rglob("*.png"))) == 3


def test_a_name_that_is_too_long_is_one_line(bundle: Path, scans: Path, tmp_path: Path) -> None:
    for arguments in (("run", bundle, scans, "-o", tmp_path / ("x" * 300)), ("inspect", "y" * 300)):
        done = getgan(*arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "File name too long" in one_line(done)


def test_sigterm_ends_it_as_ctrl_c_does(bundle: Path, scans: Path, tmp_path: Path) -> None:
    """systemd and `docker stop` send it."""
    for number in range(400):
        os.link(scans / "a.png", scans / f"{number}.png")
    arguments = [sys.executable, "-c", MAIN, "run", str(bundle), str(scans), "-o", str(tmp_path / "o")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "o").glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130
