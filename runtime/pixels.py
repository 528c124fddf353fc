"""Between pictures and tensors: uint8 (H, W, 3) RGB and float32 (N, 3, H, W) in a contract's range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from getgan.contract import SIGNED, Contract, Range, half_width, range_in_words
from getgan.errors import ConfigError


def tensor_from_images(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], value_range: Range = SIGNED
) -> NDArray[np.float32]:
    """uint8 (H, W, 3) pictures of one size -> float32 (N, 3, H, W); 0 and 255 become the range's ends."""
    height, width = images[0].shape[:2]
    step = np.float32(127.5 / half_width(value_range))
    tensor = np.empty((len(images), 3, height, width), np.float32)
    for place, image in zip(tensor, images, strict=True):
        # Division by 127.5 and not a product with 1/127.5, which is no float32: training divides too.
        np.divide(image.transpose(2, 0, 1), step, out=place)
    tensor += np.float32(value_range[0])
    return tensor


def image_from_tensor(tensor: NDArray[np.float32], value_range: Range = SIGNED) -> NDArray[np.uint8]:
    """float32 (3, H, W) in the range -> uint8 (H, W, 3), to the nearest level; the rest is clipped."""
    levels = tensor - np.float32(value_range[0])
    levels *= np.float32(127.5 / half_width(value_range))
    np.rint(levels, out=levels)
    np.clip(levels, 0.0, 255.0, out=levels)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(1, 2, 0))


def map_from_tensor(tensor: NDArray[np.float32]) -> NDArray[np.uint8]:
    """float32 (C, H, W) in [0, 1] -> uint8 (H, W), the mean over the channels, 0..255."""
    levels: NDArray[np.float32] = np.rint(tensor.mean(axis=0) * np.float32(255.0))
    return np.clip(levels, 0.0, 255.0).astype(np.uint8)


def check_frames(frames: NDArray[np.uint8], contract: Contract) -> None:
    """ConfigError unless these are N pictures of a size that the contract takes."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ConfigError(f"found {frames.dtype} {frames.shape}; wanted uint8 (N, H, W, 3) RGB")
    _check_sides(frames.shape[1], frames.shape[2], contract)


def check_tensor(images: NDArray[np.float32], contract: Contract) -> None:
    """ConfigError unless the array is what the contract takes."""
    if images.dtype != np.float32 or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        wanted = f"float32 (N, 3, H, W) in {range_in_words(contract.range)}"
        raise ConfigError(f"found {images.dtype} {images.shape}; wanted {wanted}")
    _check_sides(images.shape[2], images.shape[3], contract)


def _check_sides(height: int, width: int, contract: Contract) -> None:
    """Not left to the backend: below its reflection padding ONNX Runtime gives zeros instead of an error."""
    if contract.fixed:
        if (height, width) != (contract.size, contract.size):
            fixed = f"{contract.size}x{contract.size}, the only size of this network"
            raise ConfigError(f"found {width}x{height} pixels; wanted {fixed}")
    elif (
        min(height, width) < contract.min_size
        or height % contract.multiple_of
        or width % contract.multiple_of
    ):
        rule = f"multiples of {contract.multiple_of}, {contract.min_size} or more each way"
        raise ConfigError(f"found {width}x{height} pixels; wanted {rule}")
