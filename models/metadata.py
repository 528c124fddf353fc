"""getgan's own metadata in a checkpoint file: one JSON document, checked field by field."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

from getgan import __version__
from getgan.contract import Contract
from getgan.errors import CheckpointError
from getgan.models.blocks import LEFT_OUT
from getgan.models.generator import Generator
from getgan.models.nearest import first_three

FORMAT_VERSION = 1

_Record = TypeVar("_Record")


def parsed(document: str) -> dict[str, Any]:
    """The document's content, of a version that is known here."""
    try:
        content: dict[str, Any] = json.loads(document)
        version = content["version"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise CheckpointError("found damaged getgan metadata; copy the file again") from None
    if type(version) is not int or version < 1:
        wanted = f"a whole number from 1 to {FORMAT_VERSION}: copy the file again"
        raise CheckpointError(f"found metadata version {version!r:.80}; wanted {wanted}")
    if version > FORMAT_VERSION:
        upgrade = f"this is getgan {__version__}: pip install -U getgan"
        raise CheckpointError(f"found metadata version {version}; wanted at most {FORMAT_VERSION}, {upgrade}")
    return content


def contract_of(document: Any, network: Generator) -> Contract:
    """The network's own, for the size that a file states; an error where the rest is not the network's."""
    if not isinstance(document, dict) or type(document.get("size")) is not int:
        raise CheckpointError(f"found the contract {document!r:.80}; wanted an object with a whole size")
    contract = network.contract(document["size"])
    wanted = document_of(contract)
    if odd := sorted(document.keys() ^ wanted.keys()):
        raise CheckpointError(f"found a contract with missing or unknown fields ({first_three(odd)})")
    for name, own in wanted.items():
        if document[name] != own:
            found = f"found contract.{name} = {document[name]!r:.80}"
            raise CheckpointError(f"{found}; wanted {own!r} for this {network.arch}")
    return contract


def document_of(contract: Contract) -> dict[str, Any]:
    """As JSON holds it; that a network is fixed shows in its config."""
    document = msgspec.to_builtins(contract) | {"range": list(contract.range)}
    del document["fixed"]
    return dict(document)


def record(kind: type[_Record], document: Any, *, strict: bool) -> _Record:
    """A dataclass from parsed JSON; each value must have the type of the field's default.

    Not strict: unknown fields are passed over and missing ones take their default.
    """
    if not isinstance(document, dict):
        raise CheckpointError(f"found {type(document).__name__} as {kind.__name__}; wanted an object")
    known = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    optional = {field.name for field in fields(kind) if LEFT_OUT in field.metadata}  # type: ignore[arg-type]
    odd = (known.keys() - optional - document.keys()) | (document.keys() - known.keys())
    if strict and odd:
        names = first_three(sorted(odd))
        raise CheckpointError(f"found {kind.__name__} with missing or unknown fields ({names})")
    values: dict[str, Any] = {}
    for name in known.keys() & document.keys():
        value = tuple(document[name]) if isinstance(document[name], list) else document[name]
        if type(value) is not type(known[name]):
            wanted = type(known[name]).__name__
            raise CheckpointError(f"found {kind.__name__}.{name} = {value!r:.80}; wanted a {wanted}")
        # What a bundle's JSON cannot hold, or a terminal cannot show, was not written by us either.
        if isinstance(value, int) and abs(value) >= 1 << 63:
            raise CheckpointError(
                f"found {kind.__name__}.{name} with {len(str(value))} digits; wanted at most 18"
            )
        if isinstance(value, str) and not _is_unicode(value):
            raise CheckpointError(f"found {kind.__name__}.{name} with broken Unicode; copy the file again")
        values[name] = value
    return kind(**values)


def _is_unicode(text: str) -> bool:
    """Without half a surrogate pair, which JSON may hold and UTF-8 cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
