"""Where ONNX Runtime ran each node, by its own profile of one inference."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from getgan.errors import DeviceError

Shapes = tuple[dict[str, tuple[int, ...]], ...]
FLOATS = ("float", "float16", "bfloat16", "double")


class _Arguments(msgspec.Struct):
    op_name: str = ""
    provider: str = ""
    input_type_shape: Shapes = ()
    output_type_shape: Shapes = ()


class _Event(msgspec.Struct):
    cat: str = ""
    args: _Arguments = msgspec.field(default_factory=_Arguments)


class Profile:
    """Records the inferences of a session until `end`, in a file that goes with it."""

    def __init__(self, options: Any) -> None:
        """options: onnxruntime.SessionOptions, before the session is made."""
        folder = tempfile.mkdtemp(prefix="getgan-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")

    def end(self, session: Any) -> bytes:
        """The profile; the session is as fast as another from here on."""
        profile = Path(session.end_profiling()).read_bytes()
        self._remove()
        return profile


def placement(profile: bytes, provider: str) -> str:
    """Who ran what, in words; DeviceError unless every node that computes pictures ran on the provider.

    ONNX Runtime computes shapes on the CPU where a graph asks for them, and is right to: U-GAT-IT's norms
    count their pixels. So whole numbers may come from there, and single floats made of them; a float that was
    made of a tensor of two dimensions or more, or is one, may not. Its own switch,
    session.disable_cpu_ep_fallback, knows no difference and refuses such a graph.
    """
    events = [event.args for event in msgspec.json.decode(profile, type=list[_Event]) if event.cat == "Node"]
    nodes = [node for node in events if node.provider]
    lost = [node for node in nodes if node.provider != provider and _computes(node)]
    elsewhere = Counter(f"{node.op_name} on {node.provider}" for node in lost)
    if elsewhere:
        listed = ", ".join(f"{count} {name}" for name, count in elsewhere.most_common(3))
        raise DeviceError(f"{len(lost)} nodes ran elsewhere than on {provider}: {listed}")
    computing = sum(_computes(node) for node in nodes)
    if not computing:
        raise DeviceError(f"ONNX Runtime's profile names no node that ran on {provider}")
    beside = sum(node.provider != provider for node in nodes)
    shapes = f", {beside} of shapes on the CPU" if beside else ""
    return f"{provider}, {computing} of {computing} nodes{shapes}"


def _computes(node: _Arguments) -> bool:
    made = [kind for output in node.output_type_shape for kind in output]
    values = [item for value in (*node.input_type_shape, *node.output_type_shape) for item in value.items()]
    return bool({*made} & {*FLOATS}) and any(kind in FLOATS and len(sides) > 1 for kind, sides in values)
