"""Image files in and out: uint8 (H, W, 3) RGB in memory; PNG, JPEG, BMP and TIFF on disk."""

from __future__ import annotations

import ctypes
import io
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from getgan.errors import DataError
from getgan.files import write_bytes_atomic
from getgan.runtime.container import KINDS as KINDS
from getgan.runtime.container import Container, container

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# An ultrasound frame has two megapixels at most. A hostile file of this size, a progressive CMYK JPEG, costs
# 460 MB: the file twice, 8 bytes a pixel while it is decoded, 4 then and 3 for the result.
MAX_PIXELS = 25_000_000
MAX_SIDE = 1_000_000  # Pillow keeps 8 bytes for each row besides
MAX_BYTES = 80_000_000  # 25 megapixels of RGB, uncompressed, and the headers
# Of 16-bit colours Pillow takes the high byte. Asked for the other order, it takes the low one.
_NATIVE_LOW = "B" if sys.byteorder == "little" else "L"
_COLOURS_16 = {
    f"{mode};16{high}": f"{mode};16{low}"
    for mode in ("RGB", "RGBX", "RGBA")
    for high, low in (("B", "L"), ("L", "B"), ("N", _NATIVE_LOW))
}
_GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N")
_BAND = 1 << 20  # pixels turned into an array at once: what the turning takes does not grow with the picture


def read_image(path: Path) -> NDArray[np.uint8]:
    """The picture as uint8 (H, W, 3) RGB, upright (EXIF orientation applied).

    Grey becomes three equal channels, alpha is dropped, 16 bit is scaled to 8. DataError for what is
    missing, empty, damaged, cut off, no image, or above MAX_PIXELS (seen in the header, before decoding).
    """
    path = Path(path)
    try:
        return image_from_bytes(read_file(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def image_from_bytes(data: bytes) -> NDArray[np.uint8]:
    """The picture in an image file's bytes, as `read_image`."""
    source = container(data)
    opened = _opened(source)
    stored = _stored_as(opened)
    if stored in _COLOURS_16:
        levels = _rounded(_decoded(opened), _decoded(_opened(source, _COLOURS_16[stored])))
    elif stored == "LA;16B":  # taken for RGBA: the high and the low byte of grey, then alpha's
        both = _decoded(_opened(source, "RGBA"))
        levels = np.repeat(_rounded(both[..., :1], both[..., 1:2]), 3, axis=2)
    else:
        levels = _decoded(opened)
    return _upright(levels, source.orientation)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3) RGB as the suffix says, atomically; JPEG at quality 95."""
    path = Path(path)
    write_bytes_atomic(path, bytes_from_image(image, path.suffix))


def bytes_from_image(image: NDArray[np.uint8], suffix: str = ".png", *, small: bool = False) -> bytes:
    """An image file's bytes from uint8 (H, W, 3) RGB; a `small` PNG has a quarter less, 50 times as slow."""
    import cv2

    if suffix.lower() not in SUFFIXES:
        raise DataError(f"cannot write an image as {suffix!r}; wanted one of {', '.join(SUFFIXES)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image is {image.dtype} {image.shape}; wanted uint8 (H, W, 3)")
    asked = (
        [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
        if small and suffix.lower() == ".png"
        else []
    )
    done, data = cv2.imencode(suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), asked)
    if not done:
        raise DataError(f"OpenCV cannot write {suffix} files here; use .png")
    return data.tobytes()


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder by suffix, hidden ones left out, in natural order (2.png before 10.png)."""
    folder = Path(folder)
    if not folder.is_dir():
        instead = "no folder" if folder.exists() else "missing"
        raise DataError(f"{folder} is {instead}; wanted a folder of images")
    found = folder.rglob("*") if recursive else folder.iterdir()
    images = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    visible = [p for p in images if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return sorted(visible, key=lambda path: natural_key(path.relative_to(folder)))


def natural_key(path: Path) -> tuple[list[list[str | int]], str]:
    """Sorts paths as people do: 2.png before 10.png, a beside A."""
    parts = [[int(t) if t.isdecimal() else t for t in re.split(r"(\d+)", p.casefold())] for p in path.parts]
    return parts, str(path)


def read_file(path: Path) -> bytes:
    """An image file's bytes, at most MAX_BYTES; the DataError does not say which file it was."""
    try:
        if path.is_dir():
            raise DataError("is a folder; wanted an image file")
        if not path.exists():
            raise DataError("no such file; wanted an image")
        if not path.is_file():
            raise DataError("is no regular file; wanted an image file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"found {size:,} bytes; wanted an image file of at most {MAX_BYTES:,}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); check its permissions") from error


def _opened(source: Container, stored_as: str = "") -> ImageFile:
    """By Pillow: its header is read and its size checked. No plugin is asked but the one for this kind."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

    readers: dict[str, Callable[[io.BytesIO], ImageFile]] = {
        "PNG": PngImagePlugin.PngImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
    }
    try:
        opened = readers[source.kind](io.BytesIO(source.data))
    except Exception as error:  # Pillow's plugins raise anything
        raise _damaged(source.kind) from error
    if source.kind == "TIFF":
        _quiet_libtiff()
    width, height = opened.size
    if height < 1 or width < 1:
        raise DataError(f"found {width}x{height} pixels; wanted at least one")
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        most = f"{MAX_PIXELS // 10**6} megapixels, {MAX_SIDE:,} on a side"
        raise DataError(f"found {width}x{height} pixels; wanted at most {most}")
    if stored_as:
        opened.tile = [
            tile._replace(args=(stored_as, *tile.args[1:]) if isinstance(tile.args, tuple) else stored_as)
            for tile in opened.tile
        ]
    return opened


@cache
def _quiet_libtiff() -> None:
    """libtiff writes what it finds odd to the terminal, from C, until it is told not to."""
    from PIL import _imaging

    library = ctypes.CDLL(_imaging.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, name):  # Windows does not say where it is
            getattr(library, name)(None)


def _damaged(kind: str | None) -> DataError:
    return DataError(f"{kind} file is damaged, cut off or of an odd kind; copy it again, or save it as PNG")


def _stored_as(opened: ImageFile) -> str:
    """How the pixels lie in the file, in Pillow's words: "RGB;16B" is 16-bit RGB, the high byte first."""
    args = opened.tile[0].args if opened.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _decoded(opened: ImageFile) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB as stored; of 16-bit colours the byte that the file was opened for."""
    if opened.mode in ("I", "F", "LAB") or (
        opened.mode.startswith("I;16") and _stored_as(opened) not in _GREY_16
    ):
        raise DataError("found other pixels than 8 or 16 bit unsigned grey or RGB; convert it to PNG")
    width, height = opened.size
    try:
        opened.load()
        levels = np.empty((height, width, 3), np.uint8)
        rows = max(1, _BAND // width)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            band = opened if rows >= height else opened.crop((0, top, width, bottom))
            if band.mode.startswith("I;16"):
                deep = np.asarray(band, np.uint32)[:, :, None]
                levels[top:bottom] = (deep + 128) // 257  # 65535 -> 255, to the nearest level
            else:
                levels[top:bottom] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    except MemoryError:
        raise DataError("needs more memory than this machine has free; make the picture smaller") from None
    except Exception as error:  # Pillow raises anything
        raise _damaged(opened.format) from error
    return levels


def _rounded(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(256 * high + low + 128) // 257, to the nearest level, in `high` itself."""
    for top in range(0, len(high), 64):
        part = high[top : top + 64]
        apart = low[top : top + 64].astype(np.int16) - part
        part += apart > 128
        part -= apart < -128
    return high


def _upright(levels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """As EXIF says: 2 to 4 are mirrored or half turned, 5 to 8 have rows and columns exchanged besides."""
    if orientation >= 5:
        levels = levels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        levels = levels[::-1]
    if orientation in (2, 3, 6, 7):
        levels = levels[:, ::-1]
    return np.ascontiguousarray(levels)
