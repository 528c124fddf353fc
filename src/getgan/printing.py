"""Text that is safe to print: lines for people that hold no escape codes, strict JSON for machines."""

from __future__ import annotations

import json
import math

import msgspec


def one_line(text: object) -> str:
    """As one printable line: file names and notes may hold line feeds, escape codes and broken Unicode."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in str(text)
    )
    return shown.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    """The same for a text whose own line feeds are meant."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def counted(number: int, thing: str) -> str:
    """1 picture, 2 pictures."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def json_text(document: object, indent: int | None = 2) -> str:
    """Records, dicts and lists as JSON that every parser takes: ASCII only, null for NaN and infinity."""
    if isinstance(document, msgspec.Struct):
        document = msgspec.to_builtins(document)
    return json.dumps(_finite(document), indent=indent, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
