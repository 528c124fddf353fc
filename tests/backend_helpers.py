"""Which backends this environment has, and marks for the tests that need one.

GETGAN_TEST_BACKENDS, like "openvino,onnxruntime" or "" for none, says which must be there: if it is set and
not true, nothing runs, so that a backend that got lost fails the tests and does not skip them.
"""

from __future__ import annotations

import os

import pytest

from getgan.runtime.backends.catalog import BACKENDS
from getgan.runtime.devices import library_version

INSTALLED = tuple(
    each.name for each in BACKENDS if each.candidates("cpu") and any(map(library_version, each.distributions))
)

_promised = os.environ.get("GETGAN_TEST_BACKENDS")
if _promised is not None and set(_promised.split(",")) - {""} != set(INSTALLED):
    raise RuntimeError(f"found the backends {INSTALLED}; GETGAN_TEST_BACKENDS wants {_promised!r}")

needs_backend = pytest.mark.skipif(not INSTALLED, reason="no backend is installed")
needs_openvino = pytest.mark.skipif("openvino" not in INSTALLED, reason="openvino is not installed")
needs_onnxruntime = pytest.mark.skipif("onnxruntime" not in INSTALLED, reason="onnxruntime is not installed")
