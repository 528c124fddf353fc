"""Checkpoint → ONNX: a module that gives the wanted outputs alone goes through PyTorch's exporter."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from getgan.contract import OUTPUTS, Output
from getgan.errors import ConfigError, ExportError
from getgan.export.graph import INPUT, OnnxModel, clean, model_from_proto
from getgan.export.grid import put_image_on_grid
from getgan.export.lowering import lower
from getgan.export.noise import quiet_exporter
from getgan.models.checkpoint import Checkpoint
from getgan.models.generator import Generator

# What PyTorch 2.13 writes without converting between versions, and old enough for every TensorRT 10, for
# OpenVINO and for ONNX Runtime 1.14; nothing that our networks use changed up to 23.
OPSET = 18


class Inference(nn.Module):
    """A generator reduced to the wanted outputs; what only an unwanted one needs is taken out."""

    def __init__(self, generator: Generator, outputs: Sequence[Output] = ("face",)) -> None:
        super().__init__()
        check_outputs(generator, outputs)
        if generator.branch not in outputs and hasattr(generator, generator.branch):
            # The branch's weights are gone, so no graph can hold them.
            setattr(generator, generator.branch, nn.Sequential())
        self.generator = generator
        self.outputs = tuple(outputs)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) float RGB in the generator's range -> one tensor for each output, see OnnxModel."""
        found = self.generator.answer(image, self.outputs)
        return tuple(found[name] for name in self.outputs)


def check_outputs(generator: Generator, outputs: Sequence[Output]) -> None:
    """ConfigError unless this generator has these outputs."""
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown or "face" not in outputs or tuple(outputs) != tuple(o for o in OUTPUTS if o in outputs):
        raise ConfigError(f"found outputs {tuple(outputs)}; wanted face, then occlusion or error or both")
    if lacking := [name for name in outputs if name not in generator.outputs]:
        has = " and ".join(generator.outputs)
        raise ConfigError(
            f"this {generator.arch} has no output {lacking[0]}; it has {has}: leave the option out"
        )


def export_onnx(checkpoint: Checkpoint, *, outputs: Sequence[Output] = ("face",)) -> OnnxModel:
    """The checkpoint's generator as one ONNX graph, float32.

    Batch, height and width are dynamic, height and width as multiples of the generator's `multiple_of`; a
    fixed generator keeps its size. Layers are replaced by others that give the same for fewer products,
    see lowering.py.
    Equal weights give equal bytes. ConfigError for an output that the network lacks, ExportError where
    PyTorch or ONNX's checker cannot make a graph.
    """
    module = Inference(checkpoint.generator(), outputs).eval()
    lower(module, module.generator.multiple_of)
    fixed = module.generator.fixed
    smallest, step = module.generator.min_size, module.generator.multiple_of
    # Two images of twice the smallest size: a batch of one, or equal sizes, would be taken for constants.
    height, width = (smallest, smallest) if fixed else (2 * smallest, 3 * smallest)
    dynamic = {0: Dim("batch")}
    if not fixed:
        dynamic |= {2: step * Dim(f"h{step}"), 3: step * Dim(f"w{step}")}
    try:
        with quiet_exporter() as seen, torch.no_grad():
            program = torch.onnx.export(
                module,
                (torch.zeros(2, 3, height, width),),
                dynamo=True,
                external_data=False,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_shapes={INPUT: dynamic},
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(
            f"PyTorch {torch.__version__} cannot export this {checkpoint.arch} ({first:.200}); "
            "wanted an ONNX graph: pip install -c constraints.txt 'getgan[export]'"
        ) from error
    if program is None:
        raise ExportError(f"PyTorch {torch.__version__} gave no graph; wanted an ONNX program: report this")
    proto = program.model_proto
    clean(proto, prefix="generator.")
    put_image_on_grid(proto, module.generator.value_range)
    if "occlusion" in outputs:
        _name_occlusion_size(proto, step)
    filtered = [f"{reason} ({count}x)" for reason, count in sorted(seen.items())]
    return model_from_proto(proto, outputs, filtered, module.generator.value_range)


def _name_occlusion_size(proto: onnx.ModelProto, step: int) -> None:
    """H/4 and W/4 as h4 and w4: the exporter calls them s18 and s23, though the image has 4*h4 and 4*w4.

    So for a trunk at H/4; at H/16 the names are h16 and w16.
    """
    value = next(value for value in proto.graph.output if value.name == "occlusion")
    for dimension, name in zip(value.type.tensor_type.shape.dim[2:], (f"h{step}", f"w{step}"), strict=True):
        dimension.dim_param = name
