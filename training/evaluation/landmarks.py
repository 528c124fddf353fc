"""Whether eyes, nose and mouth are where they belong in a photo: filters learned on rendered photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from getgan.training.evaluation.testsets import Floats, Head, Images, Masks

EYES, NOSE, MOUTH = slice(0, 2), 2, 3  # places in (N, 4): left and right eye, nose, mouth
PARTS = ("left eye", "right eye", "nose", "mouth")

FILTER_OF = (0, 0, 1, 2)  # one filter for both eyes, one for the nose, one for the mouth
PHOTOS = 200  # that the filters learn from

# Every face is looked at upright and with one height, so that the filters need not learn roll and scale.
SIDE, HEIGHT = 56, 44  # pixels of that picture, and of the head in it
REACH = 64  # larger pictures are reduced to this side first: what is finer is no landmark
AHEAD, ACROSS = 6, 8  # half height and half width of a filter
FLOOR = 6.0  # levels a pixel: what is flatter than this counts as skin, however the rest looks
REGULARISATION = 0.05
SHARPNESS = 4.0  # a filter learns exp(-squared distance / SHARPNESS)

FOUND = 0.55  # answer of a filter from which its part is there; 1 is a rendered one, 0 is skin
IN_PLACE = 0.3  # of the distance between the eyes of that head, seen from the front
NEAR = (0.55, 0.55, 0.4, 0.4)  # how far a part is looked for: about half way to the next part
FACE = 0.38  # radius of the face, of the head's height, in which further eyes are looked for

AROUND = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)], np.float64)  # a place and its neighbours

# Half axes of the skin that hides a part, of the head's height.
PAINTED = ((0.16, 0.13), (0.16, 0.13), (0.14, 0.11), (0.19, 0.10))

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """What stands in N pictures at the four PARTS of their heads."""

    answer: Floats  # (N, 4) of the filter, the largest near the true place
    offset: Floats  # (N, 4, 2) from the true place to that, to the upright face's right and down; % as below
    in_place: Masks  # (N, 4) there, and no further off than IN_PLACE
    further_eyes: NDArray[np.int64]  # (N,) eyes in the face apart from two

    @property
    def distance(self) -> Floats:
        """(N, 4) from the true place, % of the head's height."""
        return np.asarray(np.hypot(self.offset[..., 0], self.offset[..., 1]), np.float64)

    @property
    def both_eyes(self) -> NDArray[np.bool_]:
        """Two eyes, each in its place, and no third; bool (N,)."""
        return np.asarray(self.in_place[:, EYES].all(axis=1) & (self.further_eyes == 0), np.bool_)

    @property
    def eye_missing(self) -> NDArray[np.bool_]:
        """An eye or both not even near the true place, bool (N,)."""
        return np.asarray((self.answer[:, EYES] < FOUND).any(axis=1), np.bool_)

    @property
    def eyes_mean_offset(self) -> float:
        """Length of an eye's mean offset, of both the mean, % of the head's height; NaN without either eye.

        Over the pictures in which the eye is near its place. What is off by chance is off to all sides and
        nearly cancels.
        """
        there = np.where(self.answer[:, EYES, None] >= FOUND, self.offset[:, EYES], np.nan)
        if np.isnan(there).all(axis=0).any():
            return float("nan")
        return float(np.linalg.norm(np.nanmean(there, axis=0), axis=1).mean())

    @property
    def distance_where_there(self) -> Floats:
        """(N, 4); NaN where the part was not found near its place."""
        return np.where(self.answer >= FOUND, self.distance, np.nan)


@dataclass(frozen=True)
class LandmarkFinder:
    """Called with uint8 (N, H, W, 3) RGB photos of any size and their true heads.

    A linear filter for each part on gradients of grey and of red over green, over the contrast around,
    and on how dark a place is. Ridge regression on PHOTOS rendered photos and on the same with a part
    painted over, 2 s; docs/training.md says how well it tells.
    """

    kernels: tuple[Array, ...]  # (2 AHEAD + 1, 2 ACROSS + 1, channels)
    offsets: tuple[float, ...]

    def __call__(self, images: Images, heads: Sequence[Head]) -> Found:
        """Look for every part of every head."""
        looked = [self._look(image, head) for image, head in zip(images, heads, strict=True)]
        answer, offset, in_place, further = zip(*looked, strict=True)
        return Found(
            np.stack(answer), np.stack(offset), np.stack(in_place), np.array(further, dtype=np.int64)
        )

    def _look(self, image: Picture, head: Head) -> tuple[Floats, Floats, NDArray[np.bool_], int]:
        upright, places, apart = _upright(image, head)
        answers = self._answers(_features(upright))
        answer, offset = np.empty(4), np.empty((4, 2))
        for part, which in enumerate(FILTER_OF):
            away = _distances(*places[part])
            near = np.where(away <= NEAR[part] * apart, answers[which], -np.inf)
            best = int(near.argmax())
            row, column = divmod(best, SIDE)
            answer[part], offset[part] = near.flat[best], (column + 0.5, row + 0.5) - places[part]
        in_place = (answer >= FOUND) & (np.linalg.norm(offset, axis=1) <= IN_PLACE * apart)
        return answer, 100.0 * offset / HEIGHT, in_place, max(0, _count(answers[0], apart) - 2)

    def _answers(self, features: Array) -> list[Array]:
        return [
            np.asarray(
                sum(
                    cv2.filter2D(features[..., c], cv2.CV_32F, kernel[..., c])
                    for c in range(features.shape[2])
                )
                + offset,
                np.float32,
            )
            for kernel, offset in zip(self.kernels, self.offsets, strict=True)
        ]


def learn_landmark_finder(images: Images, heads: Sequence[Head]) -> LandmarkFinder:
    """From uint8 (K, H, W, 3) RGB photos and their heads, of which the first PHOTOS are used."""
    rng = np.random.default_rng(0)
    seen: list[list[Array]] = [[], [], []]
    wanted: list[list[float]] = [[], [], []]

    def sample(features: Array, which: int, own: Floats, places: Floats) -> None:
        """What one filter sees at (K, 2) places, and what it should answer with its own parts at (L, 2)."""
        for x, y in places:
            squared = np.square(own - (x, y)).sum(axis=1).min(initial=np.inf)
            seen[which].append(_patch(features, x, y))
            wanted[which].append(float(np.exp(-squared / SHARPNESS)))

    for image, head in zip(images[:PHOTOS], heads[:PHOTOS], strict=True):
        upright, places, apart = _upright(image, head)
        features = _features(upright)
        anywhere = rng.uniform(ACROSS + 1, SIDE - ACROSS - 1, (24, 2))
        for which in range(3):
            own = places[_parts_of(which)]
            sample(features, which, own, np.concatenate([*(place + AROUND for place in own), anywhere]))
        for part in range(4):
            features = _features(_upright(painted_over(image, head, part), head)[0])
            shifts = np.concatenate([3.0 * AROUND, NEAR[part] * apart * rng.uniform(-1.0, 1.0, (8, 2))])
            for which in range(3):
                # A filter must neither see a part that is gone nor miss one because its neighbour is.
                own = places[[other for other in _parts_of(which) if other != part]]
                gone = places[part] + shifts if part in _parts_of(which) else np.empty((0, 2))
                sample(features, which, own, np.concatenate([own, gone]))
    learned = [_ridge(np.array(rows), np.array(values)) for rows, values in zip(seen, wanted, strict=True)]
    return LandmarkFinder(tuple(kernel for kernel, _ in learned), tuple(offset for _, offset in learned))


def hidden_parts(mask: Masks, heads: Sequence[Head]) -> Masks:
    """Whether at least half of a disc at each part lies in the mask, (N, H, W) -> (N, 4)."""
    hidden = np.empty((len(mask), 4), np.bool_)
    rows, columns = np.mgrid[: mask.shape[1], : mask.shape[2]] + 0.5
    for i, head in enumerate(heads):
        for part, (x, y) in enumerate(head.landmarks):
            disc = np.hypot(columns - x, rows - y) <= max(0.08 * head.height, 1.0)
            hidden[i, part] = bool(disc.any()) and float(mask[i][disc].mean()) >= 0.5
    return hidden


def painted_over(image: Picture, head: Head, part: int) -> Picture:
    """The photo with the skin around a part drawn over it, uint8 (H, W, 3) RGB."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    turn = _turn(head)
    x, y = head.landmarks[part]
    offset = np.stack([columns - x, rows - y], axis=2) @ turn.T / (np.array(PAINTED[part]) * head.height)
    away = np.linalg.norm(offset, axis=2)  # (H, W), 1 on the ellipse
    outside = (away > 1.0).astype(np.float32)
    sigma = 0.08 * head.height
    light = cv2.GaussianBlur(image.astype(np.float32) * outside[..., None], (0, 0), sigma)
    skin = light / np.maximum(cv2.GaussianBlur(outside, (0, 0), sigma), np.float32(1e-4))[..., None]
    amount = np.clip((1.1 - away) / 0.2, 0.0, 1.0)[..., None]
    return np.asarray(np.rint(image * (1.0 - amount) + skin * amount), np.uint8)


def _parts_of(which: int) -> list[int]:
    """The parts that a filter is for."""
    return [part for part in range(4) if FILTER_OF[part] == which]


def _turn(head: Head) -> Floats:
    """From the picture's axes to the upright head's, (2, 2)."""
    roll = np.deg2rad(head.roll)
    return np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])


def _upright(image: Picture, head: Head) -> tuple[Picture, Floats, float]:
    """The face upright and HEIGHT high in SIDE x SIDE, its landmarks (4, 2), and its eyes' distance."""
    shrink = min(1.0, REACH / image.shape[0])
    if shrink < 1.0:
        image = np.asarray(cv2.resize(image, (REACH, REACH), interpolation=cv2.INTER_AREA), np.uint8)
    zoom = HEIGHT / (head.height * shrink)
    turn = zoom * _turn(head)
    places = head.landmarks * shrink
    move = SIDE / 2 - turn @ places.mean(axis=0)
    # OpenCV counts from a pixel's centre, a landmark from its corner.
    matrix = np.hstack([turn, (move + turn @ (0.5, 0.5) - 0.5)[:, None]])
    upright = cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(upright, np.uint8), places @ turn.T + move, head.eyes_apart * shrink * zoom


def _features(image: Picture) -> Array:
    """(SIDE, SIDE, 5): gradients of grey and of red over green, and how dark, over the contrast around."""
    colours = image.astype(np.float32)
    grey = cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)
    red = colours[..., 0] - colours[..., 1]
    right, down = (cv2.Sobel(grey, cv2.CV_32F, *axis) / 8 for axis in ((1, 0), (0, 1)))
    redder = [cv2.Sobel(red, cv2.CV_32F, *axis) / 8 for axis in ((1, 0), (0, 1))]
    contrast = np.sqrt(cv2.blur(right * right + down * down, (15, 15))) + FLOOR
    dark = (cv2.GaussianBlur(grey, (0, 0), 6.0) - grey) / 4
    return np.asarray(np.stack([right, down, *redder, dark], axis=2) / contrast[..., None], np.float32)


def _patch(features: Array, x: float, y: float) -> Array:
    """What a filter sees at a place; one too close to the edge is moved inside."""
    row = int(np.clip(y, AHEAD, SIDE - AHEAD - 1))
    column = int(np.clip(x, ACROSS, SIDE - ACROSS - 1))
    return features[row - AHEAD : row + AHEAD + 1, column - ACROSS : column + ACROSS + 1]


def _ridge(seen: Array, wanted: Floats) -> tuple[Array, float]:
    """The filter (height, width, channels) and its offset."""
    rows = seen.reshape(len(seen), -1).astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    penalty = REGULARISATION * len(rows) * rows.var() * np.eye(rows.shape[1])
    weights = np.linalg.solve(rows.T @ rows + penalty, rows.T @ (wanted - wanted.mean()))
    return weights.reshape(seen.shape[1:]).astype(np.float32), float(wanted.mean() - mean @ weights)


def _distances(x: float, y: float) -> Floats:
    """Of every pixel's centre from a place, (SIDE, SIDE)."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.asarray(np.hypot(columns - x, rows - y), np.float64)


def _count(answers: Array, apart: float) -> int:
    """How many eyes the face has: the strongest answers, none within half an eye distance of another."""
    left = np.where(_distances(SIDE / 2, SIDE / 2) <= FACE * HEIGHT, answers, -np.inf)
    count = 0
    while left.max() >= FOUND:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        left[_distances(column + 0.5, row + 0.5) < 0.45 * apart] = -np.inf
        count += 1
    return count
