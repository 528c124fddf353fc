"""The generators in a file: below wrappers and prefixes of any name, each where its keys are recognised."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from getgan.errors import CheckpointError, GetganError
from getgan.models.generator import GeneratorConfig
from getgan.models.layouts import renamed
from getgan.models.nearest import WANTED, first_three, unknown_state
from getgan.models.recognise import recognised
from getgan.models.stored import Stored

MAX_NESTING = 4  # of wrappers and prefixes: {"state_dict": {"netG.module.model.1.weight": ...}} has three
MAX_ENTRIES = 100_000
MAX_NAME = 200  # of all wrappers together; a manifest may have 1 MB, and one name had 900 kB
_OPTIMISER = re.compile(r"optim|scheduler|scaler|epoch|iteration|global_step", re.IGNORECASE)
_EMA = re.compile(r"(^|[._-])ema([._-]|$)|_ema|ema_", re.IGNORECASE)
_WAYS = {
    "A2B": re.compile(r"(a2b|atob|a_to_b|_ab|(^|_)g_?a|gen_?a)$", re.IGNORECASE),
    "B2A": re.compile(r"(b2a|btoa|b_to_a|_ba|(^|_)g_?b|gen_?b)$", re.IGNORECASE),
}


@dataclass(frozen=True, eq=False)
class Candidate:
    """One generator of a file: where it was found ("" = it is the file), and what its keys say."""

    name: str
    state: Mapping[str, Stored]
    arch: str
    config: GeneratorConfig


@dataclass(frozen=True, eq=False)
class Chosen:
    """The generator to take; `others` are those passed over, `source` says who chose: keys, flag, assumed."""

    candidate: Candidate
    others: tuple[str, ...]
    source: str


def choose(content: Mapping[str, Any], direction: str = "") -> Chosen:
    """The one that `direction` names (its name, A2B or B2A), the only one, or A2B; else CheckpointError."""
    if _count(content, MAX_ENTRIES, MAX_NESTING) > MAX_ENTRIES:
        raise CheckpointError(f"found more than {MAX_ENTRIES:,} entries; wanted {WANTED}")
    errors: list[GetganError] = []
    found = list(_candidates(content, "", 0, errors))
    if not found:
        raise errors[0] if errors else CheckpointError(_nothing(content))
    names = [each.name for each in found]
    if direction and names == [""]:
        raise CheckpointError("found one generator, which is all of the file; wanted no --direction")
    wanted = _named(names, direction) if direction else _without_ema_twins(names)
    source = "keys" if len(names) == 1 else "flag" if direction else "assumed"
    if len(wanted) > 1 and not direction:
        wanted = [name for name in wanted if _way(name) == "A2B"]
    if len(wanted) != 1:
        what = f"no generator {direction!r:.40}, only" if direction else f"{len(names)} generators,"
        raise CheckpointError(f"found {what} {first_three(names)}; wanted one: --direction {names[0]:.80}")
    (chosen,) = (each for each in found if each.name == wanted[0])
    if len(chosen.name) > MAX_NAME:
        raise CheckpointError(
            f"found a generator with a name of {len(chosen.name):,} letters; wanted {MAX_NAME} at most, as "
            "bundles and pages say which it is: save its state dict alone"
        )
    return Chosen(chosen, tuple(name for name in names if name != chosen.name), source)


def _count(content: Mapping[str, Any], most: int, depth: int) -> int:
    """Entries down to a depth, up to `most`: a pickle can name one dict again and again."""
    count = len(content)
    for value in content.values():
        if count > most:
            break
        if isinstance(value, dict) and depth:
            count += _count(value, most - count, depth - 1)
    return count


def _candidates(
    content: Mapping[str, Any], name: str, depth: int, errors: list[GetganError]
) -> Iterator[Candidate]:
    """Those here, or else those in each part; `errors` gets what almost is one."""
    tensors = renamed({key: value for key, value in content.items() if isinstance(value, Stored)})
    if tensors:
        try:
            if (told := recognised({key: value.blank() for key, value in tensors.items()})) is not None:
                yield Candidate(name, tensors, *told)
                return
        except GetganError as error:
            errors.append(error)
    if depth == MAX_NESTING:
        return
    parts: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        first, _, rest = key.partition(".")
        if isinstance(value, Stored) and rest:
            parts.setdefault(first, {})[rest] = value
        elif isinstance(value, dict):
            parts.setdefault(key, {}).update({str(inner): each for inner, each in value.items()})
    for part, inside in parts.items():
        yield from _candidates(inside, f"{name}.{part}" if name else part, depth + 1, errors)


def _named(names: list[str], direction: str) -> list[str]:
    if direction in names:
        return [direction]
    last = [name for name in names if name.rpartition(".")[2] == direction]
    return last or _without_ema_twins([name for name in names if _way(name) == direction.upper()])


def _without_ema_twins(names: list[str]) -> list[str]:
    """Where a file has a moving average of the weights beside them, that is what its authors test with."""
    averaged = {_EMA.sub("", name) for name in names if _EMA.search(name)}
    return [name for name in names if _EMA.search(name) or name not in averaged]


def _way(name: str) -> str:
    """A2B or B2A, by the name of any wrapper; "" = it does not say."""
    for part in reversed(name.split(".")):
        for way, pattern in _WAYS.items():
            if pattern.search(_EMA.sub("", part)):
                return way
    return ""


def _nothing(content: Mapping[str, Any]) -> str:
    """Why no generator is in it."""
    tensors = _flat(content)
    optimiser = (
        "found an optimiser's state without a network; wanted the generator's weights: pass the file "
        "that was saved beside it"
    )
    if content.keys() == {"state", "param_groups"}:
        return optimiser
    if not tensors:
        keys = first_three(sorted(content))
        return f"found {keys}, and no tensor among them; wanted {WANTED}"
    if any(_OPTIMISER.search(key) for key in content if not isinstance(content[key], Stored)):
        state = {key: each for key, each in tensors.items() if not _OPTIMISER.match(key)}
        if not state:
            return optimiser
        return f"{unknown_state(_bare(state))} (in a training state with {first_three(sorted(content))})"
    return unknown_state(_bare(tensors))


def _flat(content: Mapping[str, Any], depth: int = 0) -> dict[str, Tensor]:
    """Every tensor by its full name."""
    found: dict[str, Tensor] = {}
    for key, value in content.items():
        if isinstance(value, Stored):
            found[str(key)] = value.blank()
        elif isinstance(value, dict) and depth < MAX_NESTING:
            found.update({f"{key}.{inner}": each for inner, each in _flat(value, depth + 1).items()})
    return found


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the wrappers that all keys share, so that they compare with a network's own."""
    for _ in range(MAX_NESTING):
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or not all("." in key for key in state) or first <= {"model"}:
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    return state
