"""Which input and output of a stranger's graph are the pictures, and in which order their axes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import shape_inference

from getgan.contract import MAX_SIZE, SIGNED, Range, range_in_words
from getgan.errors import ConfigError, ExportError, UsageError
from getgan.export.onnxfile import OnnxFile, Port, nodes_for

RANGES: dict[str, Range] = {"-1,1": SIGNED, "0,1": (0.0, 1.0), "0,255": (0.0, 255.0)}


@dataclass(frozen=True)
class OnnxOptions:
    """The image contract of a graph as flags state it; 0 and "" = found by trying, or told by the graph."""

    range: str = ""  # one of RANGES
    size: int = 0
    multiple_of: int = 0
    min_size: int = 0
    fixed: bool = False  # size x size and nothing else
    input: str = ""
    output: str = ""
    clip: bool = False  # cut off what leaves the range

    @property
    def value_range(self) -> Range:
        """UsageError unless one was stated: no graph tells it."""
        if self.range not in RANGES:
            found = (
                f"found --range {self.range!r:.40}"
                if self.range
                else "found no --range, which no graph tells"
            )
            wanted = " or ".join(f"--range={name}" for name in RANGES)
            raise UsageError(f"{found}; wanted {wanted}: what black and white are, going in and coming out")
        return RANGES[self.range]


NOTHING_STATED = OnnxOptions()


@dataclass(frozen=True)
class Ports:
    """The pictures: where they go in and come out; rows: the axes are (N, H, W, 3) there."""

    input: Port
    output: Port
    rows_in: bool
    rows_out: bool
    one: bool  # the file takes one picture at a time
    size: int  # the only one that the graph takes, 0 = any
    dropped: tuple[str, ...]  # other outputs


def ports_of(file: OnnxFile, options: OnnxOptions = NOTHING_STATED) -> Ports:
    """ExportError or ConfigError unless there is one picture each way."""
    output = _picture(_inferred(file), options.output, "output")
    needed = {name for node in nodes_for(file.proto.graph, output.name) for name in node.input}
    inputs = [port for port in file.inputs if port.name in needed or port.name == options.input]
    source = _picture(inputs, options.input, "input")
    if others := [str(port) for port in inputs if port != source]:
        raise ExportError(
            f"found inputs beside the picture: {others[0]}; wanted a graph of one picture alone"
        )
    rows = _rows(source)
    batch, *rest = source.sides
    height, width = rest[:2] if rows else rest[1:]
    if isinstance(batch, int) and batch != 1:
        raise ExportError(f"found {source}, a batch of {batch}; wanted 1 or a dynamic one: export it so")
    size = _only_size(source, height, width)
    if size and options.size not in (0, size):
        raise ConfigError(f"found --size {options.size}; this graph takes {size} only")
    if size > MAX_SIZE:
        raise ExportError(f"found {source}; wanted at most {MAX_SIZE} pixels each way")
    dropped = tuple(port.name for port in file.outputs if port.name != output.name)
    return Ports(source, output, rows, _rows(output), batch == 1, size, dropped)


def _only_size(port: Port, height: int | str, width: int | str) -> int:
    if isinstance(height, int) != isinstance(width, int) or (isinstance(height, int) and height != width):
        raise ExportError(f"found {port}; wanted height and width both dynamic, or both the same number")
    return height if isinstance(height, int) else 0


def _inferred(file: OnnxFile) -> list[Port]:
    """The outputs, with the sides that follow from the input where the file does not state them."""
    if all(port.sides for port in file.outputs):
        return list(file.outputs)
    try:
        proto = shape_inference.infer_shapes(file.proto)
    except (shape_inference.InferenceError, ValueError, RuntimeError):
        return list(file.outputs)
    return list(OnnxFile(file.path, proto, file.sha256, ()).outputs)


def _picture(ports: Sequence[Port], name: str, what: str) -> Port:
    listed = "; ".join(map(str, ports[:6])) or "none"
    if name:
        found = [port for port in ports if port.name == name]
        if not found:
            raise ConfigError(f"found no {what} {name!r:.80}, only {listed}")
    else:
        found = [port for port in ports if _may_be(port)]
    if len(found) > 1:
        advice = f"--{what}-name {found[0].name:.80}"
        raise ConfigError(
            f"found {len(found)} {what}s that may be the picture ({listed}); wanted one: {advice}"
        )
    if not found or not _may_be(found[0]):
        wanted = "float32 (N, 3, H, W) or (N, H, W, 3)"
        raise ExportError(f"found {what}s {listed}; wanted one picture, {wanted}")
    return found[0]


def _may_be(port: Port) -> bool:
    """Four sides of float32, three of which may be 3 channels."""
    if port.kind != "float32" or len(port.sides) != 4:
        return False
    return any(not isinstance(port.sides[axis], int) or port.sides[axis] == 3 for axis in (1, 3))


def _rows(port: Port) -> bool:
    return port.sides[3] == 3 and port.sides[1] != 3


def range_that_fits(lowest: float, highest: float) -> str:
    """The smallest known range that holds these values, as a flag; "" = none."""
    for name, (low, high) in sorted(RANGES.items(), key=lambda each: each[1][1] - each[1][0]):
        slack = 0.005 * (high - low)
        if low - slack <= lowest and highest <= high + slack:
            return f"--range={name}"
    return ""


def seen_in_words(lowest: float, highest: float, wanted: Range) -> str:
    """A graph's answers that are no pictures of the stated range, and which flag would fit."""
    fits = range_that_fits(lowest, highest)
    advice = f"{fits} would fit, if it is what goes in too" if fits else "--clip cuts off what lies outside"
    found = f"found answers from {lowest:.4g} to {highest:.4g} on the gate's pictures"
    return f"{found}; wanted {range_in_words(wanted)} and most of it: {advice}"
