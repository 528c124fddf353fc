"""An ONNX graph as what a bundle is made of: read, tried, prepared, and judged by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from getgan.contract import SIGNED, Contract, half_width
from getgan.errors import BundleError, ExportError, GetganError
from getgan.export.compare import Expected
from getgan.export.graph import OnnxModel
from getgan.export.onnxfile import OnnxFile, read_onnx
from getgan.export.onnxgraph import prepared
from getgan.export.onnxports import RANGES, OnnxOptions, Ports, ports_of, seen_in_words
from getgan.export.onnxreference import OnnxReference
from getgan.export.onnxtrial import Trial, contract_by_trial
from getgan.printing import one_line
from getgan.runtime.manifest import Branch, Manifest, Model
from getgan.runtime.outputs import range_fault

ARCH = "onnx"
LEAST = 4 / 255  # of the range that answers must cover: less is another range's picture
FLAG, TRIED, GRAPH = "flag", "trial", "graph"


class OnnxSource:
    """See Source."""

    torch = ""

    def __init__(
        self,
        file: OnnxFile,
        ports: Ports,
        options: OnnxOptions,
        trial: Trial,
        contract: Contract,
        threads: int,
    ) -> None:
        self._file, self._ports, self._options = file, ports, options
        self._tried = trial.found
        self.contract, self.sha256 = contract, file.sha256
        self._graph, self._did = prepared(file, ports, contract.range, clip=options.clip)
        self.reference = OnnxReference(file, ports, contract, clip=options.clip, threads=threads)
        self._remark = ""

    def graph(self) -> OnnxModel:
        """See Source."""
        return self._graph

    def prove(self, fp32: OnnxModel, expected: Sequence[Expected]) -> Branch | None:
        """See Source; a graph has no branch to drop."""
        lowest = min(float(each.outputs["face"].min()) for each in expected)
        highest = max(float(each.outputs["face"].max()) for each in expected)
        value_range = self.contract.range
        narrow = highest - lowest < LEAST * 2.0 * half_width(value_range)
        if narrow or range_fault("face", lowest, highest, value_range):
            raise ExportError(f"{self._file.path}: {seen_in_words(lowest, highest, value_range)}")
        if value_range == SIGNED and lowest >= 0.0:
            self._remark = f"no answer was below {max(lowest, 0.0):.2g}: is the range [0, 1]?"
        return None

    def model(self, name: str) -> Model:
        """See Source."""
        contract, ports = self.contract, self._ports
        sources = {
            field: FLAG if getattr(self._options, field) else TRIED if field in self._tried else GRAPH
            for field in ("range", "size", "multiple_of", "min_size", "input", "output", "clip")
            if field != "clip" or self._options.clip
        }
        parts = [*self._did, "weights in files beside it" if self._file.beside else "", self._remark]
        return Model(
            name=name,
            arch=ARCH,
            parameters=self._file.parameters,
            source_sha256=self.sha256,
            config={
                "range": self._options.range,
                "input": one_line(ports.input.name),
                "output": one_line(ports.output.name),
                "opset": self._file.opset,
                "clip": self._options.clip,
            },
            sources=sources,
            notes="; ".join(["ONNX graph", *filter(None, parts), _found(self._tried, contract)]),
        )


def open_onnx(path: Path, options: OnnxOptions, threads: int = 0) -> OnnxSource:
    """Read, try and prepare; a GetganError says what of the file or of the options cannot be."""
    options.value_range  # noqa: B018  # before a minute has passed
    file = read_onnx(path)
    try:
        ports = ports_of(file, options)
    except GetganError as error:
        raise type(error)(f"{path}: {error}") from error
    trial = contract_by_trial(file, options)
    assert trial.contract is not None
    return OnnxSource(file, ports, options, trial, trial.contract, threads)


def options_of(manifest: Manifest) -> OnnxOptions:
    """The contract of a bundle's graph, stated in full; BundleError for a bundle of no ONNX graph."""
    config, contract = manifest.model.config, manifest.contract
    names = {value: name for name, value in RANGES.items()}
    try:
        return msgspec.convert(
            {
                "range": names[contract.range],
                "size": contract.size,
                "multiple_of": contract.multiple_of,
                "min_size": contract.min_size,
                "fixed": contract.fixed,
                **{name: config[name] for name in ("input", "output", "clip")},
            },
            OnnxOptions,
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise BundleError(f"found a bundle of a {manifest.model.arch:.40}, which is no ONNX graph") from error


def _found(fields: Sequence[str], contract: Contract) -> str:
    """What nobody stated."""
    if not fields:
        return "contract as stated"
    return "found by trying: " + ", ".join(f"{field}={getattr(contract, field)}" for field in fields)
