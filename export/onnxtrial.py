"""Which pictures a stranger's ONNX graph takes, found by trying, in a process with limits.

It may loop for long or fill the memory, so nothing of it runs elsewhere before it ran here. As a command,
`python -m getgan.export.onnxtrial PATH OPTIONS` prints one JSON object.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort

from getgan.contract import Contract, half_width
from getgan.errors import ConfigError, ExportError, GetganError
from getgan.export.graph import INPUT, Array
from getgan.export.onnxfile import OnnxFile, nodes_for, read_onnx
from getgan.export.onnxgraph import prepared
from getgan.export.onnxports import OnnxOptions, Ports, ports_of
from getgan.export.onnxreference import CPU, OriginalGraph
from getgan.runtime.child import run_child
from getgan.runtime.quality import THRESHOLDS

SIZE = 256  # where no flag and no graph says another
MULTIPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
NEAR = 96  # pixels each way that multiples are tried with: small, and not small for a network
# A ResNet-9 with ngf 64: 20 s of processor time and 700 MB for all tries, one picture of 256x256 among them.
BUSY_S = 120
END_S = 600
BASE_MB = 500
GRAPH_TIMES = 6  # the file as bytes and parsed, and the same once more after it was prepared
PIXEL_KB = 6


class Trial(msgspec.Struct, frozen=True):
    """What the child found."""

    fault: str = ""
    contract: Contract | None = None
    found: tuple[str, ...] = ()  # fields of the contract that nobody stated


def contract_by_trial(file: OnnxFile, options: OnnxOptions) -> Trial:
    """The contract of a file that was read here; ExportError where it takes no such pictures."""
    size = options.size or SIZE
    ended = run_child(
        "getgan.export.onnxtrial",
        str(file.path),
        msgspec.json.encode(options).decode(),
        file.sha256,
        seconds=END_S,
        busy_seconds=BUSY_S,
        memory_mb=BASE_MB + (GRAPH_TIMES * file.proto.ByteSize() >> 20) + (PIXEL_KB * 2 * size * size >> 10),
    )
    if ended.how:
        raise ExportError(
            f"{file.path}: the graph {ended.how} when it was tried, in a process of its own; it is not run"
        )
    trial = msgspec.json.decode(ended.last, type=Trial)
    if trial.fault:
        raise ExportError(f"{file.path}: {trial.fault}")
    return trial


def tried(file: OnnxFile, options: OnnxOptions) -> Trial:
    """The same in this process."""
    ports = ports_of(file, options)
    tries = _Tries(file, ports, options)
    found = []
    if ports.size:
        contract = Contract(ports.size, ports.size, 1, range=options.value_range, fixed=True)
    elif options.fixed:
        size = options.size or SIZE
        contract = Contract(size, size, 1, range=options.value_range, fixed=True)
    else:
        step, smallest = options.multiple_of, options.min_size
        if not step:
            step = tries.multiple()
            found.append("multiple_of")
        else:
            tries.check_multiple(step)
        size = options.size or max(SIZE // step, 1) * step
        if size % step:
            raise ConfigError(f"found --size {size}; this graph takes multiples of {step}")
        if not smallest:
            smallest = tries.smallest(step, size)
            found.append("min_size")
        contract = Contract(size, smallest, step, range=options.value_range)
        tries.check(smallest, smallest)
    if contract.fixed:
        _check_fixed(contract.size, options)
    if not (options.size or ports.size):
        found.append("size")
    tries.check(contract.size, contract.size)
    _check_same(file, ports, contract, tries, clip=options.clip)
    return Trial(contract=contract, found=tuple(found))


def _check_fixed(size: int, options: OnnxOptions) -> None:
    """ConfigError where the options state other sizes than the only one."""
    for flag, value, right in (
        ("min-size", options.min_size, options.min_size in (0, size)),
        ("multiple-of", options.multiple_of, not options.multiple_of or size % options.multiple_of == 0),
    ):
        if not right:
            raise ConfigError(f"found --{flag} {value}; this graph takes {size}x{size} only: leave it out")


class _Tries:
    """The file's graph, run at one size after another; what a size does inside is looked at too."""

    def __init__(self, file: OnnxFile, ports: Ports, options: OnnxOptions) -> None:
        # ONNX Runtime before 1.32 reflects beyond a picture without a word; a norm of one pixel is 0.
        nodes = list(nodes_for(file.proto.graph, ports.output.name))
        weights = {tensor.name for tensor in file.proto.graph.initializer}
        self._norms = {node.input[0] for node in nodes if node.op_type == "InstanceNormalization"}
        pads = [node for node in nodes if node.op_type == "Pad" and _mode(node) == b"reflect"]
        self._pads = {node.output[0]: node.input[0] for node in pads}
        watched = {*self._norms, *self._pads, *self._pads.values()} - weights - {ports.input.name}
        self._source = ports.input.name
        self.graph = OriginalGraph(file, ports, watched=sorted(watched))
        self._range = options.value_range

    def picture(self, count: int, height: int, width: int) -> Array:
        """Noise in the range."""
        low, high = self._range
        made = np.random.default_rng(0).uniform(low, high, (count, 3, height, width))
        return made.astype(np.float32)

    def fault(self, height: int, width: int) -> str:
        """Why the graph does not take pictures of this size; "" = it does."""
        try:
            picture = self.picture(1, height, width)
            face, inside = self.graph.run(picture)
        except ExportError as error:
            return str(error)
        if face.shape != picture.shape:
            return f"answers {picture.shape} with {face.shape}"
        if not np.isfinite(face).all():
            return "gives values that are not finite"
        shapes = {name: value.shape for name, value in inside.items()}
        shapes[self._source] = (1, height, width, 3) if self.graph.ports.rows_in else picture.shape
        for out, source in self._pads.items():
            both = shapes[source], shapes[out]
            if any((more - side + 1) // 2 >= side for side, more in zip(*both, strict=True)):
                return f"reflects more than there is, from {both[0]} to {both[1]}"
        if any(np.prod(inside[name].shape[2:]) == 1 for name in self._norms if name in inside):
            return "takes a norm of one pixel"
        return ""

    def check(self, height: int, width: int) -> None:
        """ExportError with the reason."""
        if fault := self.fault(height, width):
            raise ExportError(
                f"the graph does not take {width}x{height} pixels: it {fault}; {self._advice()}"
            )

    def check_multiple(self, step: int) -> None:
        """Odd multiples, so that a larger step is not taken for this one."""
        for height, width in _sides(step):
            if fault := self.fault(height, width):
                raise ExportError(
                    f"the graph does not take every multiple of {step}: with {width}x{height} pixels it "
                    f"{fault}; {self._advice()}"
                )

    def multiple(self) -> int:
        """The smallest of MULTIPLES of which all are taken."""
        for step in MULTIPLES:
            if not any(self.fault(*sides) for sides in _sides(step)):
                return step
        fault = self.fault(SIZE, SIZE)
        raise ExportError(
            f"found no sizes that the graph takes: with {SIZE}x{SIZE} pixels it "
            f"{fault or 'runs, with no other'}; {self._advice()}"
        )

    def smallest(self, step: int, size: int) -> int:
        """The smallest square from which on all up to 8 steps are taken, and at the most `size`."""
        found = size
        for side in range(min(size, 8 * step if step >= 8 else 64 // step * step), 0, -step):
            if self.fault(side, side):
                break
            found = side
        return found

    def _advice(self) -> str:
        return (
            "wanted sizes that it takes: --size N --fixed for one only, or --multiple-of N and --min-size N"
        )


def _sides(step: int) -> Iterator[tuple[int, int]]:
    times = max(1, NEAR // step | 1)
    more = times + (2 if times > 1 else 1)
    yield times * step, more * step
    yield more * step, times * step


def _mode(node: onnx.NodeProto) -> bytes:
    return next((each.s for each in node.attribute if each.name == "mode"), b"constant")


def _check_same(file: OnnxFile, ports: Ports, contract: Contract, tries: _Tries, *, clip: bool) -> None:
    """What was made of the file gives its pictures, with two at a time: before anything is judged."""
    model, did = prepared(file, ports, contract.range, clip=clip)
    side = (
        contract.size
        if contract.fixed
        else max(contract.min_size, 64 // contract.multiple_of * contract.multiple_of)
    )
    pictures = tries.picture(2, side, side)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.data, options, providers=CPU)
        found = np.asarray(session.run(None, {INPUT: pictures})[0])
    except Exception as error:  # noqa: BLE001  # ONNX Runtime raises a class of its own for each status
        first = (str(error).strip().splitlines() or [""])[0]
        what = f"does not run with two pictures at once ({first:.200})"
    else:
        wanted = np.concatenate([tries.graph.run(each)[0] for each in np.split(pictures, 2)])
        wanted = np.clip(wanted, *contract.range) if clip else wanted
        same = found.shape == wanted.shape
        off = float(np.abs(found - wanted).max()) / half_width(contract.range) if same else np.inf
        limit = THRESHOLDS["fp32"].max_error or 0.0
        what = "" if off <= limit else f"gives other pictures, off by {off:.1e}, wanted at most {limit:.0e}"
    if what:
        done = "; ".join(did) or "nothing but cleaning was done"
        wanted_file = "wanted the network exported with opset_version=18 and a dynamic batch"
        raise ExportError(f"what was made of the graph {what} ({done}); {wanted_file}")


def main(path: str, options: str, sha256: str) -> Trial:
    """The child's answer."""
    try:
        file = read_onnx(Path(path))
        if file.sha256 != sha256:
            return Trial("it changed while it was read; wait until it is written")
        return tried(file, msgspec.json.decode(options, type=OnnxOptions))
    except GetganError as error:
        return Trial(str(error).removeprefix(f"{path}: "))


if __name__ == "__main__":
    with suppress(AttributeError):  # should nobody wait for this process any more
        signal.alarm(END_S)
    sys.stdout.buffer.write(msgspec.json.encode(main(*sys.argv[1:4])) + b"\n")
