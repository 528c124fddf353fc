"""What an engine's layers compute in, as the library lists them: whether a build got the asked precision."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from getgan.errors import DeviceError
from getgan.runtime.manifest import Precision, Record

# Of the layers that multiply by weights. In an fp16 graph of ours all but one or two at its ends are Half: 18
# of 19 in the shipped bundle. An engine that fell back to fp32 has none.
LEAST_SHARE = 0.5
WANTED = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}

# Substrings of a layer's kind, in small letters: TensorRT's own names and those of its compiler.
_MULTIPLIES = ("conv", "correlation", "gemm", "matmul", "matrix")
# A tensor's type is a field of its own, or stands in its format: "Row major linear FP16 format".
_IN_FORMAT = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}
_LAYER = re.compile(
    r"Name: (?P<name>.*?), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\], Constants: "
)
_DATATYPE = re.compile(r"Datatype: (\w+)")


@dataclass(frozen=True)
class Layer:
    """A layer of an engine."""

    name: str
    kind: str
    precision: str  # of what it reads: "Half", "Float", "Int8"; "" = it reads nothing

    @property
    def multiplies(self) -> bool:
        """Whether it is a convolution or a matrix product, where nearly all of the time goes."""
        return any(part in self.kind.lower() for part in _MULTIPLIES)


class Proof(Record, frozen=True):
    """What was read of an engine."""

    source: str  # "inspector", or "build log" where the engine itself cannot be opened
    layers: dict[str, int]  # by precision
    multiplying: dict[str, int]  # the same, of convolutions and matrix products
    wanted: str  # "Half"
    share: float  # of the wanted precision among the multiplying ones

    def text(self) -> str:
        """One line for people."""
        of = sum(self.multiplying.values())
        found = self.multiplying.get(self.wanted, 0)
        return f"{found} of {of} convolutions in {self.wanted}, by its {self.source}"


def layers_from_json(text: str) -> tuple[Layer, ...]:
    """Of `EngineInspector.get_engine_information(JSON)`, of an engine built with detailed verbosity."""
    try:
        listed = json.loads(text)["Layers"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DeviceError(f"the engine inspector's answer cannot be read ({error!s:.80})") from error
    return tuple(_layer(entry) for entry in listed if isinstance(entry, dict))


def layers_from_log(messages: Iterable[str]) -> tuple[Layer, ...]:
    """Of what TensorRT-RTX says at the end of a build with detailed verbosity, which needs no GPU."""
    text = next((message for message in messages if message.startswith("Layers:")), "")
    found = [match for line in text.splitlines() if (match := _LAYER.match(line))]
    return tuple(Layer(m["name"], m["kind"], _first(_DATATYPE.findall(m["inputs"]))) for m in found)


def prove(layers: Sequence[Layer], precision: Precision, source: str) -> Proof:
    """What was read; DeviceError if it is not what was asked for, or nothing could be read."""
    multiplying = Counter(layer.precision for layer in layers if layer.multiplies)
    if not multiplying:
        raise DeviceError(
            f"found no convolution among the engine's {len(layers)} layers ({source}), so nothing tells "
            f"whether it computes in {precision}; it is not kept: report this with the library's version"
        )
    wanted = WANTED[precision]
    share = multiplying[wanted] / multiplying.total()
    proof = Proof(source, dict(Counter(_.precision for _ in layers)), dict(multiplying), wanted, share)
    if share < LEAST_SHARE:
        raise DeviceError(
            f"asked for {precision}, found {proof.text()}; wanted {LEAST_SHARE:.0%} or more: it is not kept"
        )
    return proof


def _layer(entry: dict[str, Any]) -> Layer:
    inputs = entry.get("Inputs") or [{}]
    tensor = inputs[0] if isinstance(inputs, list) and isinstance(inputs[0], dict) else {}
    precision = str(tensor.get("Datatype") or "")
    if not precision:
        form = str(tensor.get("Format/Datatype") or tensor.get("Format") or "").lower()
        precision = _first([name for mark, name in _IN_FORMAT.items() if mark in form])
    return Layer(str(entry.get("Name", "")), str(entry.get("LayerType", "")), precision)


def _first(found: Sequence[str]) -> str:
    return found[0] if found else ""
