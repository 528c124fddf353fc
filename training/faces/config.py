"""The knobs of the synthetic faces, the pose, and the seeds that keep domains and splits apart."""

from dataclasses import dataclass, fields

import numpy as np

OCCLUDER_KINDS = ("hand", "limb", "cord", "placenta")
DOMAINS = ("ultrasound", "photo")
SPLITS = ("train", "test", "probe")
Range = tuple[float, float]


@dataclass(frozen=True)
class SceneConfig:
    """Every knob of both domains; angles in degrees, lengths in half pictures, ranges as (min, max)."""

    size: int = 64  # pixels, square, both domains
    yaw_x: Range = (-30.0, 30.0)  # ultrasound; positive turns the nose to the picture's right
    yaw_y: Range = (-30.0, 30.0)  # photo; a different range makes the talk's attribute mismatch
    pitch: Range = (-9.0, 9.0)  # positive looks down
    roll: Range = (-12.0, 12.0)  # positive turns the picture clockwise
    shift: Range = (-0.06, 0.06)
    scale: Range = (0.70, 0.80)  # half height of the head
    occlusion: float = 0.75  # probability that an ultrasound scene has an occluder
    kinds: tuple[str, ...] = OCCLUDER_KINDS
    kind_weights: tuple[float, ...] = (0.60, 0.15, 0.12, 0.13)  # how often each of `kinds` is drawn
    speckle: float = 0.085  # standard deviation of the multiplicative speckle
    dropout: float = 0.35  # strength of missing patches and streaks, 0 = none, 1 = black
    wall: float = 1.0  # how much uterine wall reaches into the picture, 0 = none

    def __post_init__(self) -> None:
        if self.size < 32:
            raise ValueError(f"SceneConfig.size: found {self.size}, wanted an integer of 32 or more")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (Range, "Range") and not (len(value) == 2 and value[0] <= value[1]):
                raise ValueError(f"SceneConfig.{field.name}: found {value}, wanted (min, max), min <= max")
        for name in ("yaw_x", "yaw_y", "pitch", "roll"):
            low, high = getattr(self, name)
            if low < -60 or high > 60:
                raise ValueError(f"SceneConfig.{name}: found {(low, high)}, wanted degrees within -60 .. 60")
        if self.scale[0] < 0.3 or self.scale[1] > 1.2:
            raise ValueError(f"SceneConfig.scale: found {self.scale}, wanted a range within 0.3 .. 1.2")
        for name in ("occlusion", "dropout", "wall", "speckle"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"SceneConfig.{name}: found {getattr(self, name)}, wanted 0 .. 1")
        unknown = [kind for kind in self.kinds if kind not in OCCLUDER_KINDS]
        if unknown or not self.kinds:
            found = unknown or self.kinds
            raise ValueError(f"SceneConfig.kinds: found {found}, wanted some of {OCCLUDER_KINDS}")
        if len(self.kind_weights) < len(self.kinds) or min(self.kind_weights) <= 0:
            raise ValueError(
                f"SceneConfig.kind_weights: found {self.kind_weights}, "
                f"wanted a positive weight for each of {self.kinds}"
            )


@dataclass(frozen=True)
class Pose:
    """Where the head is: angles in degrees, shift and scale in half pictures."""

    yaw: float
    pitch: float
    roll: float
    shift_x: float
    shift_y: float
    scale: float


def seed_of(domain: str, split: str, index: int) -> int:
    """A seed that no other (domain, split, index) has."""
    if domain not in DOMAINS:
        raise ValueError(f"domain: found {domain!r}, wanted one of {DOMAINS}")
    if split not in SPLITS:
        raise ValueError(f"split: found {split!r}, wanted one of {SPLITS}")
    if index < 0:
        raise ValueError(f"index: found {index}, wanted 0 or more")
    return (index * len(SPLITS) + SPLITS.index(split)) * len(DOMAINS) + DOMAINS.index(domain)


def draw_pose(config: SceneConfig, yaw: Range, rng: np.random.Generator) -> Pose:
    """A pose drawn evenly from the ranges; the order of the draws is part of the format."""
    ranges = (yaw, config.pitch, config.roll, config.shift, config.shift, config.scale)
    return Pose(*(float(low + (high - low) * rng.random()) for low, high in ranges))
