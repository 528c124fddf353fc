"""What is evaluated, and how: checkpoints, translators, test seeds, the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from getgan.errors import ConfigError
from getgan.training.config import LossConfig
from getgan.training.faces import SceneConfig

Network = Callable[[Tensor], Tensor]  # (N, 3, H, W) float32 RGB in [-1, 1] -> the same
Progress = Callable[[str, float], None]  # what is being done, share of the whole that is done

# Each test seed has this many indices of the test split to itself.
INDICES_PER_SEED = 100_000


@dataclass(frozen=True)
class Entry:
    """A checkpoint file. Entries of one label are training seeds of one method and share a column."""

    label: str
    path: Path


@dataclass(frozen=True)
class Origin:
    """Where a translator comes from, for the report."""

    file: str
    sha256: str
    arch: str
    iterations: int = 0
    trained_with: str = ""  # getgan version
    seed: int = 0
    reverse_sha256: str = ""  # empty: no reverse generator
    notes: str = ""


@dataclass(frozen=True)
class Contestant:
    """Anything that makes y_* of x; a checkpoint becomes one, a test passes its own.

    explain: face, error and perhaps occlusion by name, in a GET-GAN. reverse: H. Where one is missing, the
    reason says why.
    """

    label: str
    translate: Network
    explain: Callable[[Tensor], dict[str, Tensor]] | None = None
    explain_missing: str = "has no error branch and no gate"
    reverse: Network | None = None
    reverse_missing: str = "no reverse generator H given"
    loss: LossConfig = field(default_factory=LossConfig)  # of W_e
    origin: Origin | None = None


@dataclass(frozen=True)
class EvaluationOptions:
    """Everything an evaluation depends on, apart from the checkpoints."""

    scenes: int = 200  # per test seed
    seeds: tuple[int, ...] = (0, 1, 2)
    size: int | None = None  # None: the checkpoints' own
    device: str = "cpu"
    threads: int = 0  # 0: PyTorch's own choice
    batch: int = 20
    pictures: int = 8
    perceptual: bool = True  # False: no perceptual distance and no KID
    faces: SceneConfig | None = None  # None: the renderer's defaults; size and occlusion are set here
    # Yaw range of a second set of scenes, wider than most photos are turned; None: no such set.
    far_yaw: tuple[float, float] | None = (-45.0, 45.0)
    pose_photos: int = 800  # that the pose reader learns from

    def __post_init__(self) -> None:
        checks = (
            ("scenes", 2 <= self.scenes <= INDICES_PER_SEED // 2, f"2 .. {INDICES_PER_SEED // 2}"),
            ("seeds", _distinct(self.seeds), "one or more different integers >= 0"),
            ("size", self.size is None or (self.size >= 32 and self.size % 4 == 0), "a multiple of 4, >= 32"),
            ("threads", self.threads >= 0, "0 or more"),
            ("batch", self.batch >= 1, "1 or more"),
            ("pictures", self.pictures >= 0, "0 or more"),
            ("pose_photos", self.pose_photos >= 20, "20 or more"),
        )
        for name, good, wanted in checks:
            if not good:
                raise ConfigError(f"evaluation: {name} is {getattr(self, name)!r}; wanted {wanted}")


def scene_configs(options: EvaluationOptions, size: int) -> tuple[SceneConfig, SceneConfig | None]:
    """The renderer's options for the test scenes, each with an occluder, and for the far set."""
    try:
        faces = replace(options.faces or SceneConfig(), size=size, occlusion=1.0)
        far = None if options.far_yaw is None else replace(faces, yaw_x=options.far_yaw)
    except ValueError as error:
        raise ConfigError(f"evaluation: {error}") from error
    return faces, far


def _distinct(seeds: tuple[int, ...]) -> bool:
    return len(seeds) > 0 and len(set(seeds)) == len(seeds) and min(seeds) >= 0
