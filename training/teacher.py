"""The trained generator that a run learns from, kept in the run's folder so that it can go on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from getgan.errors import TrainingError
from getgan.files import write_bytes_atomic
from getgan.models.checkpoint import bytes_from_checkpoint, load_checkpoint
from getgan.models.settings import ASSUMED, SIZE
from getgan.training.config import TAUGHT
from getgan.training.folder import TEACHER, with_its_weights
from getgan.training.methods import Method, Pupil
from getgan.training.state import Progress


@dataclass(frozen=True)
class Teacher:
    """What a run's folder keeps of it."""

    data: bytes

    def keep(self, folder: Path) -> None:
        """Write it beside the state, after it: the state says whose folder it is."""
        write_bytes_atomic(folder / TEACHER, self.data)


def teacher_of(
    method: Method, folder: Path, progress: Progress, path: Path | None, *, resumed: bool
) -> Teacher | None:
    """Give a method of TAUGHT its teacher, from a file or a resumed run's folder; None for other methods.

    A resumed run takes no other than the one that it began with: `progress` remembers the hashes of the
    file and of what was kept of it.
    """
    if not isinstance(method, Pupil):
        if path is not None:
            raise TrainingError(
                f"a teacher is of model.method={' or '.join(TAUGHT)} alone; leave --teacher out"
            )
        return None
    if resumed and path is None:
        path = folder / TEACHER
        if not path.exists():
            raise TrainingError(
                f"{folder} has no {TEACHER} any more; name the file that it began with (sha256 "
                f"{progress.teacher}) with --teacher, or {with_its_weights(folder)}"
            )
    elif path is None:
        raise TrainingError(
            f"model.method is {method.name}; wanted a trained generator to learn from: "
            "--start-from CHECKPOINT"
        )
    checkpoint = load_checkpoint(path)
    known = (progress.teacher, progress.teacher_kept)
    if resumed and checkpoint.sha256 not in known:
        raise TrainingError(
            f"{path} is not the teacher that this run began with (sha256 {checkpoint.sha256}, "
            f"wanted {' or '.join(dict.fromkeys(known))}); {with_its_weights(folder)}"
        )
    if checkpoint.sources.get(SIZE) == ASSUMED:
        raise TrainingError(
            f"{path.name} does not say for which size of picture it was trained, so it cannot teach; wanted "
            "one of getgan's own checkpoints"
        )
    method.learn_from(checkpoint.generator(), checkpoint.contract.size)
    if resumed:
        return Teacher(bytes_from_checkpoint(checkpoint)) if path != folder / TEACHER else None
    data = bytes_from_checkpoint(checkpoint)
    progress.teacher, progress.teacher_kept = checkpoint.sha256 or "", hashlib.sha256(data).hexdigest()
    return Teacher(data)
