"""One image file as an input: what is hashed is what is decoded, though the file may change between."""

from __future__ import annotations

import hashlib
from pathlib import Path

from getgan.runtime.images import image_from_bytes, read_file
from getgan.runtime.media.frames import Image, Pending


class ImageInput:
    """An image file that is read once, when its hash or its picture is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data: bytes | None = None

    def sha256(self) -> str:
        """Of the file's bytes; DataError if it cannot be read."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def read(self) -> Image:
        """The picture; DataError if there is none."""
        return image_from_bytes(self._bytes())

    def _bytes(self) -> bytes:
        if self._data is None:
            self._data = read_file(self._path)
        return self._data


def pending_image(path: Path, name: str) -> Pending:
    """An image file as a frame that is not read yet."""
    image = ImageInput(path)
    return Pending(name, 0, None, image.read, image.sha256)
