"""What PyTorch's exporter says that no user can act on: left out, each with its reason, and recorded."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Known(NamedTuple):
    """A message that is left out."""

    pattern: re.Pattern[str]
    reason: str


LOGGER = "torch.onnx._internal.exporter._registration"
LOGGED = Known(
    re.compile(r"^torchvision is not installed\. Skipping torchvision::\w+$"),
    "torchvision is not installed: its operators are in none of our networks",
)
# PyTorch's own code, seen with 2.13: torch.export copies its tree specification through copyreg.
WARNED = Known(
    re.compile(r"^`isinstance\(treespec, LeafSpec\)` is deprecated"),
    "LeafSpec is deprecated: PyTorch's exporter uses its own old name",
)


class _Filter(logging.Filter):
    def __init__(self, seen: dict[str, int]) -> None:
        super().__init__()
        self.seen = seen

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        known = LOGGED.pattern.match(record.getMessage()) is not None
        if known:
            self.seen[LOGGED.reason] = self.seen.get(LOGGED.reason, 0) + 1
        return not known


@contextmanager
def quiet_exporter() -> Iterator[dict[str, int]]:
    """Leave out the two known messages; the yielded dict counts them by reason. All others come through."""
    seen: dict[str, int] = {}
    logger, rule = logging.getLogger(LOGGER), _Filter(seen)
    logger.addFilter(rule)
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield seen
    finally:
        logger.removeFilter(rule)
        for warning in caught:
            if warning.category is FutureWarning and WARNED.pattern.match(str(warning.message)):
                seen[WARNED.reason] = seen.get(WARNED.reason, 0) + 1
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
