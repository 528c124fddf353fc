"""What the libraries that we import would send or leave behind by themselves, and how each is stopped.

- OpenVINO: `import openvino` imports openvino_telemetry, which writes a client id and a count into the home
  folder and reports to www.google-analytics.com, unless CI is set. Here: that import fails.
- ONNX Runtime, as its makers package it: `import onnxruntime` starts a thread that reports to Microsoft, and
  writes into .cache in the home folder and into the temporary folder. Here: ORT_DISABLE_TELEMETRY=1.
- PyTorch: its exporter, and a network on the meta device, make an empty torchinductor_USER in the temporary
  folder, for which the user's name is asked of nscd. Here: the command line names a folder that is there.
- TensorRT-RTX, which builds engines: nothing.
- numpy, OpenCV, msgspec, Typer, onnx, onnxscript, safetensors, Pillow, pydicom: nothing.

tests/test_nothing_leaves.py looks at every command for what the next version brings.
"""

from __future__ import annotations

import os
import sys


def silence_libraries() -> None:
    """Before any library is imported: `import getgan` does it."""
    # The import fails as that of a package that is not there. OpenVINO has a stand-in for that case, as some
    # distributions ship it alone. Its own opt-out is a file in the home folder.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to forbid an import
    # Not setdefault: with 0 it reports.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def leave_no_folder() -> None:
    """For a process that is ours alone: a program that imports getgan may want PyTorch's compiler.

    The folder is for what that compiler makes, and is made when it is imported. We compile nothing, so that
    any folder does that is there and that no other user can put files into.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.dirname(os.path.abspath(__file__)))
