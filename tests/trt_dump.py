"""What a TensorRT module offers, by its own documentation: run over the real bindings and empty libraries.

    python tests/trt_dump.py MODULE        # prints {"version": ..., "api": {class: {member: [signatures]}}}

A signature is "(required, optional=) -> Type". An enumeration has "*" beside its members, a property no
signature. Functions of the module itself stand in the class "".
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

# What such a module must find to be imported: they are never called.
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)
# Of no use to who builds and runs a graph: half of the file.
LEFT_OUT = re.compile(r"^I\w*Layer$|Plugin|plugin|Dim|Permutation|^Weights|^_")

Api = dict[str, dict[str, list[str]]]


def api_of(module: Any) -> Api:
    """Every public class with its public members."""
    found: Api = {"": {}}
    for name, value in vars(module).items():
        if LEFT_OUT.search(name):
            continue
        if not isinstance(value, type):
            if callable(value):
                found[""][name] = []
            continue
        if hasattr(value, "__members__"):
            found[name] = {member: [] for member in ("*", *value.__members__)}
            continue
        members = {each for each in dir(value) if not each.startswith("_")} | {"__init__"}
        found[name] = {each: _signatures(each, getattr(value, each)) for each in members}
    return found


def _signatures(name: str, value: Any) -> list[str]:
    lines = (getattr(value, "__doc__", "") or "").splitlines()
    found = []
    for line in lines:
        match = re.match(rf"(?:\d+\. )?{re.escape(name)}\((.*)\) -> (.+)$", line)
        if match and match[1] != "*args, **kwargs":
            parameters = [_parameter(each) for each in split(match[1]) if not each.startswith("self")]
            found.append(f"({', '.join(parameters)}) -> {re.split(r'[.:]', match[2])[-1]}")
    return found


def _parameter(text: str) -> str:
    name = re.match(r"\*{0,2}\w+", text)
    return f"{name[0] if name else text}{'=' if ' = ' in text else ''}"


def split(text: str) -> list[str]:
    """At the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


if __name__ == "__main__":
    offered = importlib.import_module(sys.argv[1])
    print(json.dumps({"version": offered.__version__, "api": api_of(offered)}, sort_keys=True))
