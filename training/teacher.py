"""The trained generator that a distillation learns from, kept in the run's folder so that it can go on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from getgan.errors import CheckpointError, TrainingError
from getgan.files import write_bytes_atomic
from getgan.models.checkpoint import load_checkpoint
from getgan.training.folder import TEACHER, with_its_weights
from getgan.training.methods import Method
from getgan.training.methods.distil import Distil
from getgan.training.state import Progress


@dataclass(frozen=True)
class Teacher:
    """A teacher's file, read once."""

    data: bytes
    sha256: str

    def keep(self, folder: Path) -> None:
        """Write it beside the state."""
        write_bytes_atomic(folder / TEACHER, self.data)


def teacher_of(
    method: Method, folder: Path, progress: Progress, path: Path | None, *, resumed: bool
) -> Teacher | None:
    """Give a distillation its teacher: the file, or a resumed run's own; None for any other method."""
    if not isinstance(method, Distil):
        if path is not None:
            raise TrainingError("a teacher is of model.method=distil alone; leave --teacher out")
        return None
    if resumed:
        path = folder / TEACHER
        if not path.exists():
            raise TrainingError(f"{folder} has no {TEACHER} any more; {with_its_weights(folder)}")
    elif path is None:
        raise TrainingError(
            "model.method is distil; wanted a trained generator to learn from: --start-from CHECKPOINT"
        )
    checkpoint = load_checkpoint(path)
    if resumed and checkpoint.sha256 != progress.teacher:
        raise TrainingError(
            f"{path} is not the teacher that this run began with (sha256 {checkpoint.sha256}, "
            f"wanted {progress.teacher}); {with_its_weights(folder)}"
        )
    if checkpoint.contract is None:
        raise CheckpointError(f"{path.name} does not say for which size it was trained; it cannot teach")
    method.learn_from(checkpoint.generator(), checkpoint.contract.size)
    progress.teacher = checkpoint.sha256 or ""
    return Teacher(path.read_bytes(), progress.teacher)
