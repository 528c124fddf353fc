"""What a stranger's file says reaches a terminal without its escape codes, and a machine as strict JSON."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import msgspec
import pytest

from getgan.printing import counted, json_text, one_line, printable
from getgan.runtime.console import ShareLine, StatusLine

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202e\r\udc80b"


def test_one_line_keeps_words_and_shows_what_moves_a_cursor() -> None:
    assert one_line("ü – 3 → 4") == "ü – 3 → 4"
    shown = one_line(HOSTILE + "\nnext")
    assert shown.isprintable()
    assert shown.startswith(r"a\x1b[31mred\x1b]0;title\x07\x9b2J") and shown.endswith(r"b\nnext")
    assert printable("one\ntwo\x1b[2K\r") == "one\ntwo\\x1b[2K\\r"


def test_one_is_no_plural() -> None:
    assert [counted(number, "picture") for number in (0, 1, 2)] == ["0 pictures", "1 picture", "2 pictures"]


class Facts(msgspec.Struct, frozen=True):
    """As reports are."""

    psnr: float
    notes: str


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_in_json_is_null(value: float) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    for document in ({"a": [(value, {"b": value})]}, Facts(value, HOSTILE)):
        text = json_text(document)
        assert text.isascii() and text.replace("\n", "").isprintable()
        json.loads(text, parse_constant=refuse)
    assert json_text({"a": [value, 1.5, "x", None]}, indent=None) == '{"a": [null, 1.5, "x", null]}'
    assert json.loads(json_text(Facts(value, HOSTILE))) == {"psnr": None, "notes": HOSTILE}


def test_progress_and_messages_move_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with StatusLine() as line:
        line.show(HOSTILE)
        line.message(HOSTILE)
        line.note(HOSTILE)
    with ShareLine() as share:
        share.share(HOSTILE, 0.5)
    assert len(stderr.getvalue().splitlines()) == 4
    assert stderr.getvalue().replace("\n", "").isprintable()


def test_a_log_has_a_line_of_each_tenth_of_a_step_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with ShareLine() as share:
        for count in range(1, 401):
            share.share(f"calibrating, {count} pictures", count / 1000)
        share.share("judging fp32", 0.5)
    counts = [line.split("calibrating, ")[-1].split()[0] for line in stderr.getvalue().splitlines()]
    assert counts[:-1] == ["1", "101", "201", "301"] and "judging fp32" in stderr.getvalue()


def test_every_report_is_written_by_the_one_helper() -> None:
    """A `to_json` of its own would print Infinity one day."""
    others = {
        "benchmarks/launcher.py",  # to its parent, as little imported as can be
        "benchmarks/recognition.py",  # the same, from code that it hands to a fresh process
        "benchmarks/worker.py",  # the same
        "runtime/worker.py",  # to and from its own process
        "models/checkpoint.py",  # into a checkpoint
        "training/config.py",  # a TOML string
        "training/evaluation/report.py",  # strict by itself
    }
    rooms = ("benchmarks", "clinic", "commands", "export", "models", "runtime", "training")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "cli.py", *(path for room in rooms for path in (ROOT / room).rglob("*.py")))
        if re.search(r"\bjson\.dumps?\(", path.read_text(encoding="utf-8"))
    }
    assert found <= others
