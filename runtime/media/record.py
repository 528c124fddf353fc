"""What a written picture says of itself: made by AI, by which bundle and options, of which input.

A PNG carries it inside; beside any other file lies NAME.getgan.json. A later run takes a file for its own
only if this record, the input's hash and the file's own bytes agree: a name alone says nothing about whose
face it is. The record holds hashes and options; no names, no paths.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from getgan.errors import DataError
from getgan.files import read_small
from getgan.runtime.label import TEXT
from getgan.runtime.media.pngtext import add_texts, take_text

KEYWORD = "getgan"
SIDECAR_SUFFIX = ".getgan.json"
MAX_SIDECAR_BYTES = 1 << 16
MAX_PNG_BYTES = 1 << 29  # what is larger was not written here
# IPTC's word for "created by a trained model": https://cv.iptc.org/newscodes/digitalsourcetype/
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP_KEYWORD = "XML:com.adobe.xmp"
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
# What every PNG that a model made says of itself, for other programs.
MARKS = {XMP_KEYWORD: XMP, "Comment": TEXT}


class Taken(DataError):
    """Something that must stay lies where a frame's output would go."""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides a pixel but the input itself."""

    getgan: str  # version
    bundle: str  # SHA-256
    precision: str
    backend: str  # with its version
    device: str  # "cpu" or "cuda"
    size: int
    fit: str
    output_size: str
    label: bool
    threads: int  # of the CPU, 0 on a GPU: they decide in which order numbers are added
    region: str  # x,y,w,h; "" = the whole picture, or what the input itself states
    guard: str = "none"  # refuse, mark or off; "none" = the bundle has no guard


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one file came to be."""

    made_by: Literal["getgan"] = "getgan"
    ai_generated: Literal[True] = True
    input: str  # SHA-256 of its bytes; "" = a camera
    frame: int
    view: str
    recipe: Recipe
    verdict: str = ""  # ok, unusual or refused, the guard's; "" = nobody looked, or a video
    reason: str = ""  # its code, "upside-down"; of a refused picture the file shows a card, or is marked
    content: str = ""  # SHA-256 of this file's bytes, in a PNG without this record


def png_with_record(data: bytes, made: Made) -> bytes:
    """A PNG file's bytes with the record, the IPTC source type and a comment inside."""
    marked = add_texts(data, MARKS)
    made = msgspec.structs.replace(made, content=hashlib.sha256(marked).hexdigest())
    return add_texts(marked, {KEYWORD: msgspec.json.encode(made).decode()})


def made_of(path: Path) -> Made | None:
    """The record of a file that getgan wrote and nobody changed since; None for any other file."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        if path.suffix.lower() == ".png":
            if path.stat().st_size > MAX_PNG_BYTES:
                return None
            found = take_text(path.read_bytes(), KEYWORD)
            if found is None:
                return None
            text, content = found[0].encode(), hashlib.sha256(found[1]).hexdigest()
        else:
            text = read_small(sidecar_of(path), MAX_SIDECAR_BYTES)
            content = sha256_of_file(path)
        made = msgspec.json.decode(text, type=Made)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return None
    return made if made.content == content else None


def is_record(path: Path) -> bool:
    """Whether a file is a record as getgan writes it beside a picture, of whatever picture."""
    try:
        msgspec.json.decode(read_small(path, MAX_SIDECAR_BYTES), type=Made)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return False
    return True


def sha256_of_file(path: Path) -> str:
    """Of all its bytes, read piece by piece: a video may have gigabytes. OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sidecar_of(path: Path) -> Path:
    """Where the record of a file lies that is no PNG."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def sidecar_bytes(made: Made, content_sha256: str) -> bytes:
    """The file beside it, readable JSON."""
    document = msgspec.structs.replace(made, content=content_sha256)
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def difference(found: Made, wanted: Made) -> str:
    """In which way a file is not the one that is wanted, in words; "" = it is that one."""
    if (found.input, found.frame) != (wanted.input, wanted.frame) or not wanted.input:
        return "is the face of another picture"
    changed = [name for name in Recipe.__struct_fields__ if _of(found, name) != _of(wanted, name)]
    if found.view != wanted.view:
        return f"shows the view {found.view}, wanted {wanted.view}"
    if not changed:
        return ""
    was = ", ".join(f"{name} {_of(found, name)!s:.24}" for name in changed)
    now = ", ".join(f"{name} {_of(wanted, name)!s:.24}" for name in changed)
    return f"was made with {was}, wanted {now}"


def _of(made: Made, name: str) -> object:
    return getattr(made.recipe, name)


@dataclass(frozen=True)
class Stamp:
    """What is written into the outputs of one run and one view, and whether it may replace older ones."""

    recipe: Recipe
    view: str = "output"
    overwrite: bool = False

    def made(self, sha256: str, frame: int, verdict: str = "", reason: str = "") -> Made:
        """The record of one output; sha256 of the input."""
        return Made(
            input=sha256, frame=frame, view=self.view, recipe=self.recipe, verdict=verdict, reason=reason
        )

    def stands(self, path: Path, sha256: str, frame: int) -> Made | None:
        """The record of this very output if it stands there. Taken if something else does that must stay.

        None: there is nothing, or with overwrite something that getgan wrote.
        """
        if not os.path.lexists(path):
            return None
        found = made_of(path)
        if found is None:
            raise Taken(
                f"{path.name} is there already, and is not a file that getgan wrote and nobody changed; move "
                "it away or choose another output"
            )
        if self.overwrite:
            return None
        why = difference(found, self.made(sha256, frame))
        if why:
            raise Taken(f"{path.name} is there already and {why}; choose another output, or --overwrite")
        return found

    def remove(self, path: Path) -> bool:
        """With overwrite, remove an older output of getgan's whose input gives none any more."""
        if not self.overwrite or made_of(path) is None:
            return False
        with contextlib.suppress(OSError):
            path.unlink()
            if path.suffix.lower() != ".png":  # beside a PNG, a file of that name is somebody else's
                sidecar_of(path).unlink()
        return not os.path.lexists(path)
