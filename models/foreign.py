"""What was given in a checkpoint's place, told by its first bytes, with what to do instead."""

from __future__ import annotations

HEAD = 1024  # bytes that are looked at

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer; wanted the file that it stands for: git lfs pull"),
    (b"ptrt", "a TensorRT engine; wanted the checkpoint that it was made from"),
    (b"\x1f\x8b", "a gzip file; wanted a checkpoint: gunzip it first"),
    (b"\x89HDF", "an HDF5 file, as Keras writes it; wanted a PyTorch checkpoint"),
    (b"Rar!", "a RAR archive; wanted a checkpoint: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; wanted a checkpoint: unpack it first"),
)
_SUFFIXES = {
    ".onnx": "an ONNX graph; wanted a PyTorch checkpoint, or the graph under a name in .onnx",
    ".engine": _STARTS[1][1],
    ".plan": _STARTS[1][1],
    ".trt": _STARTS[1][1],
}


def foreign_file(start: bytes, suffix: str) -> str | None:
    """What a file is that begins so, and what was wanted; None where it may be a checkpoint."""
    for mark, words in _STARTS:
        if start.startswith(mark):
            return words
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page under this name; wanted the file itself: download it again, and copy it whole"
    if text.startswith(b"{"):
        if b"weight_map" in text or suffix == ".json":
            return (
                "the index of a model in several files, which holds no weights; "
                "wanted one file: pass the .safetensors that it names"
            )
        return "a JSON file; wanted a checkpoint"
    # ONNX: the protobuf's first field, a small version; then the producer, or another field of a model.
    if len(start) > 2 and start[0] == 0x08 and start[1] < 0x20 and start[2] in (0x12, 0x1A, 0x3A):
        return _SUFFIXES[".onnx"]
    if start[257:262] == b"ustar":
        return "a tar archive; wanted a checkpoint: unpack it first"
    known = start.startswith((b"PK", b"\x80")) or start[8:9] == b"{"
    return None if known else _SUFFIXES.get(suffix)
