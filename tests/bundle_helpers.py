"""A small real bundle: a random network as ONNX, its manifest with true hashes, and golden pictures of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from backend_helpers import INSTALLED
from numpy.typing import NDArray
from onnx_helpers import FLOAT, FLOAT16, UINT8, GraphWriter, Sides

from getgan.contract import Contract
from getgan.runtime.images import bytes_from_image, image_from_bytes
from getgan.runtime.manifest import (
    MANIFEST_NAME,
    Branch,
    Export,
    Figures,
    File,
    Golden,
    Manifest,
    Model,
    Plan,
    Precision,
    Refused,
    Training,
    Variant,
    json_from_manifest,
    manifest_from_json,
)
from getgan.runtime.pixels import image_from_tensor, tensor_from_images
from getgan.runtime.quality import THRESHOLDS

SIZE = 32
EXACT = Figures(max_error=0.0, mean_error=0.0, max_levels=0, psnr=None, ssim=1.0, perceptual=None)
# The worst of `network` over 12 seeds, two sizes, a smooth picture and noise, rounded to the worse side.
FIGURES: dict[str, Figures] = {
    "fp32": EXACT,
    "fp16": Figures(max_error=8e-3, mean_error=1e-4, max_levels=1, psnr=63.0, ssim=0.9999, perceptual=None),
    "bf16": Figures(max_error=5e-2, mean_error=2e-3, max_levels=4, psnr=51.0, ssim=0.9999, perceptual=None),
}
VARIANT = Variant("fp32", "graphs/fp32.onnx", "fp32", Plan(), "test", 1, EXACT, THRESHOLDS["fp32"])


def make_bundle(
    folder: Path,
    *,
    graph: bytes | None = None,
    graphs: dict[Precision, bytes] | None = None,
    precisions: tuple[Precision, ...] = ("fp32", "bf16"),
    outputs: tuple[str, ...] = ("face",),
    size: int = SIZE,
    fixed: bool = False,
    seed: int = 0,
) -> Path:
    """Write a bundle folder and give its path.

    graph: ONNX bytes for fp32 (and bf16); a random tiny network if None. graphs: other precisions' files.
    """
    graph = network(outputs=outputs, seed=seed) if graph is None else graph
    files: dict[str, bytes] = {"graphs/fp32.onnx": graph}
    for precision, data in (graphs or {}).items():
        files[f"graphs/{precision}.onnx"] = data
    golden = []
    for name, picture in (("face", sample(size, seed)), ("noise", noise(size, seed))):
        files[f"golden/{name}.input.png"] = bytes_from_image(picture)
        files[f"golden/{name}.output.png"] = bytes_from_image(translate(graph, picture))
        golden.append(Golden(name, f"golden/{name}.input.png", f"golden/{name}.output.png", "a test picture"))
    files["quality.json"] = b"{}\n"
    files["index.html"] = b"<!doctype html><title>test</title>\n"
    variants = []
    for precision in precisions:
        path = f"graphs/{precision}.onnx" if f"graphs/{precision}.onnx" in files else "graphs/fp32.onnx"
        figures, limits = FIGURES[precision], THRESHOLDS[precision]
        plan = Plan("fp16" if precision == "fp16" else "fp32")
        variants.append(Variant(precision, path, precision, plan, "test", len(golden), figures, limits))
    missing = [p for p in ("fp32", "fp16", "bf16") if p not in precisions]
    manifest = Manifest(
        model=Model(
            name="tiny",
            arch="getgan",
            config={"ngf": 4},
            parameters=1,
            source_sha256="0" * 64,
            training=Training("nothing", 0, seed, "0" * 64, "2026-01-01T00:00:00Z"),
        ),
        contract=Contract(size=size, min_size=8, multiple_of=4, fixed=fixed),
        outputs=outputs,  # type: ignore[arg-type]  # tests ask for names as text
        export=Export(
            getgan="0",
            torch="0",
            onnx="0",
            onnxruntime="0",
            opset=18,
            created="2026-01-01T00:00:00Z",
            branch=Branch(False, 2, 1, 2, 1, True),
        ),
        variants=tuple(variants),
        refused=tuple(Refused(p, "a test leaves it out") for p in missing),
        golden=tuple(golden),
        files={name: _entry(data) for name, data in files.items()},
    )
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / MANIFEST_NAME).write_bytes(json_from_manifest(manifest))
    return folder


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes in a file's place and the right hash into the manifest: a consistent alteration."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    manifest = manifest_from_json((folder / MANIFEST_NAME).read_bytes())
    manifest.files[name] = _entry(data)
    (folder / MANIFEST_NAME).write_bytes(json_from_manifest(manifest))


def edit_manifest(folder: Path, **fields: Any) -> None:
    """Change top-level fields of manifest.json, as JSON values, unchecked."""
    import json

    path = folder / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def sample(size: int = SIZE, seed: int = 0, *, width: int = 0) -> NDArray[np.uint8]:
    """A smooth coloured picture with some speckle, uint8 (size, width or size, 3)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, : width or size] / size
    waves = np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y), np.sin(3 * x * y + 1)], axis=2)
    speckle = generator.normal(0, 12, waves.shape)
    return np.clip(128 + 80 * waves + speckle, 0, 255).astype(np.uint8)


def noise(size: int = SIZE, seed: int = 0) -> NDArray[np.uint8]:
    """Uniform noise, uint8 (size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def translate(graph: bytes, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What an installed backend makes of a picture in fp32; the picture itself where there is none.

    Without a backend nothing can show a golden picture, so that it may be any.
    """
    image = tensor_from_images([picture])
    if "onnxruntime" in INSTALLED:
        import onnxruntime

        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        face = session.run(["face"], {"image": image})[0]
    elif "openvino" in INSTALLED:
        import openvino

        core = openvino.Core()
        compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        face = compiled(image)["face"]
    else:
        return picture
    return image_from_tensor(np.nan_to_num(face[0]))


def network(
    *,
    outputs: tuple[str, ...] = ("face",),
    seed: int = 0,
    channels: int = 16,
    divide_by_zero: bool = False,
    constant: bool = False,
    half: bool = False,
    occlusion_times: float = 1.0,
    nan_above: float | None = None,
    frames: bool = False,
) -> bytes:
    """ONNX bytes of a small generator: reflect pads, convolutions, instance norms, a gate, tanh.

    divide_by_zero makes every value NaN; constant gives one colour; half computes in fp16 between casts;
    occlusion_times spoils the map alone; nan_above the face of a picture whose mean is above it. frames: it
    takes and gives uint8, as Frames says.
    """
    kind = np.float16 if half else np.float32
    generator = np.random.default_rng(seed)
    graph = GraphWriter()
    add = graph.add

    def convolution(x: str, name: str, shape: tuple[int, ...], **attributes: list[int]) -> str:
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        weight = graph.constant(f"{name}.w", (generator.normal(0, scale, shape)).astype(kind))
        return add("Conv", [x, weight], name, **attributes)

    def padded(x: str, name: str) -> str:
        pads = graph.constant(f"{name}.pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        return add("Pad", [x, pads], name, mode="reflect")

    def normed(x: str, name: str) -> str:
        scale = graph.constant(f"{name}.s", np.ones(channels, kind))
        shift = graph.constant(f"{name}.b", np.zeros(channels, kind))
        return add("Relu", [add("InstanceNormalization", [x, scale, shift], f"{name}.norm")], name)

    source = "image"
    if frames:
        x = add("Transpose", [add("Cast", ["image"], "levels", to=FLOAT)], "planes", perm=[0, 3, 1, 2])
        graph.constant("half", np.array(127.5, np.float32))
        graph.constant("one.float", np.array(1.0, np.float32))
        source = add("Sub", [add("Div", [x, "half"], "scaled"), "one.float"], "signed")
    x = add("Cast", [source], "image.half", to=FLOAT16) if half else source
    x = normed(convolution(padded(x, "pad0"), "conv0", (channels, 3, 3, 3)), "act0")
    x = normed(
        convolution(x, "conv1", (channels, channels, 4, 4), strides=[4, 4]), "smallest"
    )  # (N, C, H/4, W/4)
    s = add("Sigmoid", [convolution(x, "gate", (channels, channels, 1, 1))], "s")
    x = add("Mul", [x, s], "gated")
    x = add("Add", [x, convolution(padded(x, "pad2"), "conv2", (channels, channels, 3, 3))], "block")
    weight = generator.normal(0, 0.3, (channels, 3, 4, 4)).astype(kind)
    x = add("ConvTranspose", [x, graph.constant("up.w", weight)], "up", strides=[4, 4])
    x = add("Tanh", [x], "tanh")
    if divide_by_zero:
        zero = add("Sub", [x, x], "zero")
        x = add("Div", [zero, zero], "nan")
    if constant:
        x = add("Mul", [x, graph.constant("none", np.zeros(1, kind))], "flat")
    if nan_above is not None:
        sides = graph.constant("sides", np.array([1, 2, 3], np.int64))
        mean = add("ReduceMean", [source, sides], "mean", keepdims=1)
        limit = graph.constant("limit", np.array(nan_above, np.float32))
        root = add("Sqrt", [add("Sub", [limit, mean], "below")], "root")
        x = add("Mul", [x, add("Div", [root, root], "one or NaN")], "spoiled")
    face = add("Cast", [x], "face.float" if frames else "face", to=FLOAT)
    picture = ("batch", 3, "4*h4", "4*w4")
    results: dict[str, Sides] = {"face": picture}
    if "occlusion" in outputs:
        one = graph.constant("one", np.ones(1, kind))
        axes = graph.constant("axes", np.array([1], np.int64))
        hidden = add("ReduceMean", [add("Sub", [one, s], "1-s"), axes], "hidden", keepdims=1)
        hidden = add("Cast", [hidden], "hidden.float", to=FLOAT)
        factor = graph.constant("factor", np.array(occlusion_times, np.float32))
        hidden = add("Mul", [hidden, factor], "occlusion.float" if frames else "occlusion")
        results["occlusion"] = ("batch", 1, "h4", "w4")
    if frames:
        return _ended(graph, face, hidden if "occlusion" in outputs else "")
    return graph.model({"image": picture}, results)


def _ended(graph: GraphWriter, face: str, hidden: str) -> bytes:
    """The whole file of a graph that takes frames, with the nodes behind its float outputs."""
    add = graph.add
    none, white = (graph.constant(name, np.array(v, np.float32)) for name, v in (("none", 0), ("white", 255)))
    planes = graph.constant("planes.axes", np.array([1, 2, 3], np.int64))

    def levels(x: str, factor: str, name: str) -> str:
        rounded = add("Round", [add("Mul", [x, factor], f"{name}.times")], f"{name}.round")
        return add("Clip", [rounded, none, white], f"{name}.levels")

    whole = add("IsNaN", [add("ReduceSum", [face, planes], "sum", keepdims=0)], "spoiled by NaN")
    nan = graph.constant("nan", np.array(np.nan, np.float32))
    axis = graph.constant("axis", np.array([1], np.int64))
    ends = []
    for op in ("ReduceMin", "ReduceMax"):
        end = add("Where", [whole, nan, add(op, [face, planes], op, keepdims=0)], f"{op}.end")
        ends.append(add("Unsqueeze", [end, axis], f"{op}.column"))
    add("Concat", ends, "extent", axis=1)
    x = levels(add("Add", [face, "one.float"], "positive"), "half", "face")
    add("Cast", [add("Transpose", [x], "face.last", perm=[0, 2, 3, 1])], "face", to=UINT8)
    picture = ("batch", "4*h4", "4*w4", 3)
    results: dict[str, Sides] = {"face": picture}
    if hidden:
        flat = add("Squeeze", [levels(hidden, white, "map"), axis], "map.flat")
        add("Cast", [flat], "occlusion", to=UINT8)
        results["occlusion"] = ("batch", "h4", "w4")
    results["extent"] = ("batch", 2)
    kinds = {"image": UINT8, "face": UINT8, "occlusion": UINT8}
    return graph.model({"image": picture}, results, kinds=kinds)


def _entry(data: bytes) -> File:
    return File(len(data), hashlib.sha256(data).hexdigest())


def reencoded(data: bytes, change: Any) -> bytes:
    """A PNG's bytes with `change(picture)` in its place."""
    return bytes_from_image(change(image_from_bytes(data)))
