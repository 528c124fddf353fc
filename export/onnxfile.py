"""A stranger's ONNX file: read within limits, its weights inside; refused where no bundle can hold it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto, helper, numpy_helper

from getgan.errors import CheckpointError, ExportError
from getgan.export.graph import Array, initializers
from getgan.export.onnxwire import check_wire
from getgan.printing import one_line

SUFFIX = ".onnx"
MAX_BYTES = (1 << 31) - 1  # with its external data: what one graph of a bundle can have
MAX_NODES = 20_000  # CycleGAN's ResNet-9 has some 200, as PyTorch's older exporter writes it
MAX_SIDES = 8  # of a value's shape
MAX_EXTERNAL = 256  # tensors in files beside it
CHUNK = 1 << 20
OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
_QUANTISED = re.compile(r"QLinear|Quantize|Dequantize|DynamicQuantize|ConvInteger|MatMulInteger")
_RANDOM = re.compile(r"Random|Multinomial|Bernoulli")


@dataclass(frozen=True)
class Port:
    """An input or output: its name, its sides (a text or "" = any), and its element type in numpy's words."""

    name: str
    sides: tuple[int | str, ...]
    kind: str

    def __str__(self) -> str:
        sides = ", ".join(str(side) or "?" for side in self.sides)
        return f"{one_line(self.name):.80} {self.kind} ({one_line(sides):.120})"


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """The graph with all its weights; `sha256` is the file's, followed by that of each file beside it."""

    path: Path
    proto: onnx.ModelProto
    sha256: str
    beside: tuple[str, ...]  # files with external data

    @property
    def opset(self) -> int:
        """Version of ONNX's operators."""
        return next(int(each.version) for each in self.proto.opset_import if each.domain in ("", "ai.onnx"))

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Without those that only name a weight, as old files do."""
        weights = {tensor.name for tensor in self.proto.graph.initializer}
        return tuple(_port(value) for value in self.proto.graph.input if value.name not in weights)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """As the file states them."""
        return tuple(_port(value) for value in self.proto.graph.output)

    @property
    def parameters(self) -> int:
        """Numbers of floating type."""
        return sum(array.size for array in self.weights.values() if array.dtype.kind == "f")

    @property
    def weights(self) -> dict[str, Array]:
        """The constants by name."""
        return initializers(self.proto)


def read_onnx(path: Path) -> OnnxFile:
    """CheckpointError for a file that cannot be read, ExportError for a graph that no bundle can hold."""
    path = Path(path)
    try:
        data = _bytes_of(path, MAX_BYTES)
        proto = _parsed(data)
        beside, digest = _with_weights(proto, path.parent, len(data), hashlib.sha256(data))
        file = OnnxFile(path, proto, digest, beside)
        _check(file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error
    return file


def is_onnx(path: Path) -> bool:
    """By its name: what is called otherwise is read as a checkpoint, which says what it is."""
    return Path(path).suffix.lower() == SUFFIX


def _bytes_of(path: Path, most: int) -> bytes:
    if not path.is_file():
        raise CheckpointError("no such file; wanted an ONNX graph")
    size = path.stat().st_size
    if not 0 < size <= most:
        raise CheckpointError(f"found {size:,} bytes; wanted an ONNX graph of at most {most:,}")
    return path.read_bytes()


def _parsed(data: bytes) -> onnx.ModelProto:
    check_wire(data)
    try:
        proto = onnx.load_from_string(data)
    except Exception as error:  # protobuf's, which has no types
        raise CheckpointError("found a damaged file or no ONNX graph; copy or export it again") from error
    if not proto.graph.node or not any(each.domain in ("", "ai.onnx") for each in proto.opset_import):
        raise CheckpointError("found no ONNX graph, or an empty one; copy or export it again")
    # No node of ONNX's own operators needs them; but one may be called like an operator, and loop.
    del proto.functions[:], proto.training_info[:]
    return proto


def _check(file: OnnxFile) -> None:
    graph = file.proto.graph
    if len(graph.node) > MAX_NODES:
        raise ExportError(f"found {len(graph.node):,} nodes; wanted at most {MAX_NODES:,}")
    if len(graph.sparse_initializer):
        raise ExportError("found sparse weights; wanted dense ones: export the network again")
    for node in graph.node:
        _check_node(node)
    for tensor in graph.initializer:
        try:
            numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
            found = f"found weights '{one_line(tensor.name):.80}' without their numbers"
            raise CheckpointError(f"{found} ({error!s:.100}); copy or export it again") from error
    kinds = [(tensor.name, tensor.data_type) for tensor in graph.initializer]
    kinds += [(v.name, v.type.tensor_type.elem_type) for v in (*graph.input, *graph.output)]
    for name, kind in kinds:
        if kind in OTHER_FLOATS:
            found = f"found '{one_line(name):.80}' in {TensorProto.DataType.Name(kind)}"
            raise ExportError(
                f"{found}; wanted a float32 graph: export the network before it is made smaller"
            )


def _check_node(node: onnx.NodeProto) -> None:
    kind, name = one_line(node.op_type)[:80], one_line(node.name)[:80]
    found = f"found node '{name}', a {kind}"
    if node.domain not in ("", "ai.onnx"):
        where = f" of the domain {one_line(node.domain):.80}"
        raise ExportError(f"{found}{where}; wanted ONNX's own operators alone: export the network without it")
    if _QUANTISED.match(node.op_type):
        raise ExportError(f"{found}; wanted the float32 graph that was quantised")
    if _RANDOM.match(node.op_type):
        raise ExportError(f"{found}; wanted a graph that gives the same picture each time")
    for attribute in node.attribute:
        # By what it holds: of its stated type a file may say anything.
        if attribute.HasField("g") or len(attribute.graphs):
            raise ExportError(f"{found}; wanted a graph without branches and loops: export it for inference")
        for tensor in (attribute.t, *attribute.tensors):
            if tensor.data_location == TensorProto.EXTERNAL:
                raise ExportError(f"{found} with a number in another file; wanted it in the graph")
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in OTHER_FLOATS:
            made = TensorProto.DataType.Name(int(attribute.i))
            raise ExportError(f"{found} to {made}; wanted a float32 graph")


# --- weights in files beside it ---------------------------------------------------------------------------


def _with_weights(
    proto: onnx.ModelProto, folder: Path, size: int, digest: hashlib._Hash
) -> tuple[tuple[str, ...], str]:
    """Take external data into the graph, in place; the names of its files and the hash of all."""
    outside = [tensor for tensor in proto.graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    if len(outside) > MAX_EXTERNAL * 16:
        raise ExportError(
            f"found {len(outside):,} weights in other files; wanted at most {MAX_EXTERNAL * 16:,}"
        )
    places = [_place(tensor) for tensor in outside]
    contents: dict[str, bytes] = {}
    for name in sorted({name for name, _, _ in places}):
        contents[name] = _bytes_of(_beside(folder, name), MAX_BYTES - size)
        size += len(contents[name])
        digest.update(contents[name])
    total = 0
    for tensor, (name, offset, length) in zip(outside, places, strict=True):
        data = contents[name]
        length = len(data) - offset if length is None else length
        if not 0 <= offset <= offset + length <= len(data):
            raise CheckpointError(f"found weights beyond the end of {one_line(name):.80}; copy it again")
        total += length
        if total > sum(map(len, contents.values())):  # 2 GB from 400 kB, otherwise
            found = f"found weights that use the same bytes of {one_line(name):.80} twice"
            raise CheckpointError(f"{found}; wanted each once: export the network into one file")
        tensor.raw_data = data[offset : offset + length]
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    return tuple(contents), digest.hexdigest()


def _place(tensor: TensorProto) -> tuple[str, int, int | None]:
    """File, offset and length."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    numbers = [told.get("offset", "0"), told.get("length", "0")]
    if not told.get("location") or not all(re.fullmatch(r"\d{1,12}", number) for number in numbers):
        raise CheckpointError("found external weights without a proper place; export the network again")
    return told["location"], int(numbers[0]), int(numbers[1]) if "length" in told else None


def _beside(folder: Path, name: str) -> Path:
    """The file of that name in the graph's folder; what leads out of it is refused, a symbolic link too."""
    parts = PurePosixPath(name).parts
    path = folder
    inside = "\\" not in name and "\0" not in name and ".." not in parts and not name.startswith("/")
    for part in parts:
        path = path / part
        inside = inside and not path.is_symlink()
    if not inside or ":" in name:
        raise CheckpointError(
            f"found weights in {one_line(name)!r:.80}; wanted a file in the graph's own folder, and no link: "
            "export the network into one file"
        )
    if not path.is_file():
        raise CheckpointError(f"its weights are in {one_line(name):.80}, which is not beside it: copy it too")
    return path


def nodes_for(graph: onnx.GraphProto, output: str) -> Iterator[onnx.NodeProto]:
    """Those that an output needs, in order."""
    wanted, found = {output}, list[onnx.NodeProto]()
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output):
            wanted.update(node.input)
            found.append(node)
    return iter(found[::-1])


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    sides = tuple(
        int(side.dim_value) if side.HasField("dim_value") else side.dim_param
        for side in kind.shape.dim[: MAX_SIDES + 1]
    )
    try:
        name = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    except KeyError:
        name = "of no known type"
    return Port(value.name, sides, name)
