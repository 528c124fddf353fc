"""Recognising what was given in a bundle's place, by its first bytes, to name the command that helps."""

from __future__ import annotations

import os
from pathlib import Path

EXPORT = "getgan export CKPT -o BUNDLE"
MOST = 512  # bytes that are looked at; the directory of a hostile zip costs gigabytes


def what_is(path: Path) -> str:
    """What a file is, in words; never an error, since it is asked while one is reported."""
    try:
        with open(path, "rb") as file:
            start = file.read(MOST)
            file.seek(max(0, file.seek(0, os.SEEK_END) - 22))
            end = file.read(22)
    except OSError:
        return "a file that cannot be read"
    suffix = path.suffix.lower()
    if not start:
        return "an empty file"
    if start.startswith(b"PK"):
        return _kind_of_zip(start, end)
    # safetensors: 8 bytes of header length, then JSON.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "a safetensors checkpoint"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "a PyTorch checkpoint (pickle)"
    if start[:4] == b"ptrt" or suffix in (".engine", ".plan", ".trt"):
        return "a TensorRT engine, which belongs to one machine and carries no contract"
    # ONNX: field 1 of the protobuf message, ir_version, a small number; then the producer or another field.
    if suffix == ".onnx" or (start[0] == 0x08 and start[1] < 0x20 and start[2] in (0x12, 0x1A, 0x3A)):
        return "an ONNX graph without contract and quality record"
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")):
        return "an image"
    if start.lstrip().startswith(b"{"):
        return "a JSON file"
    return "no getgan bundle"


def advice_for(path: Path) -> str:
    """The command that makes a bundle, with the file's own name where it is a checkpoint."""
    if path.is_file() and "checkpoint" in what_is(path):
        return f"getgan export {path} -o BUNDLE"
    return EXPORT


def _kind_of_zip(start: bytes, end: bytes) -> str:
    # PyTorch writes NAME/data.pkl first. A zip without a comment ends with 22 bytes that begin so.
    length = int.from_bytes(start[26:28], "little")
    if start[30 : 30 + length].endswith(b"/data.pkl"):
        return "a PyTorch checkpoint"
    whole = end.startswith(b"PK\x05\x06")
    return "a zip file without manifest.json" if whole else "a zip file that is cut off or damaged"
