"""Which names of TensorRT our own code uses, read from its source: no list is kept by hand.

A small inference of types over the syntax tree. It begins where a module is imported by one of the names in
`MODULES`, and follows values through assignments, attributes, parameters and results of our own functions,
and through the result types that TensorRT's own documentation states.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trt_dump import Api

MODULE = ""  # the type of the module itself
Types = frozenset[str]  # "" the module, "Builder" an instance, "=Builder" the class
NONE: Types = frozenset()


@dataclass(frozen=True)
class Use:
    """A name of TensorRT in our code."""

    owner: str  # class, "" = the module
    member: str
    where: str
    given: int = -1  # positional arguments of a call; -1 = it is not called
    named: tuple[str, ...] = ()
    guard: tuple[str, str] | None = None  # used only where this (class, member) exists

    def fault(self, api: Api) -> str:
        """What is wrong with it for a version, in words; "" = nothing."""
        if self.guard is not None and self.guard[1] not in api.get(self.guard[0], {}):
            return ""
        name = f"{self.where}: {self.owner}.{self.member}"
        if self.owner not in api or self.member not in api[self.owner]:
            return f"{name} does not exist"
        signatures = api[self.owner][self.member]
        if self.given < 0 or not signatures or any(self._fits(each) for each in signatures):
            return ""
        return f"{name} is called with {self.given} + {self.named}, it takes {signatures}"

    def _fits(self, signature: str) -> bool:
        inside = signature[1 : signature.index(") ->")]
        names = [part.strip() for part in inside.split(",") if part.strip()]
        if any(name.startswith("*") for name in names):
            return True
        if self.given > len(names) or any(key not in [n.rstrip("=") for n in names] for key in self.named):
            return False
        rest = names[self.given :]
        return all(name.endswith("=") or name in self.named for name in rest)


@dataclass
class Reader:
    """Reads modules until nothing new is learnt of any value."""

    api: Api  # of all versions together: only for the types of results
    attributes: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    variables: dict[tuple[int, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    results: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    functions: dict[str, list[ast.FunctionDef]] = field(default_factory=lambda: defaultdict(list))
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    owner: dict[ast.AST, ast.FunctionDef | None] = field(default_factory=dict)
    inside: dict[ast.AST, str] = field(default_factory=dict)  # the class around it
    files: dict[ast.AST, str] = field(default_factory=dict)
    resolved: set[ast.Attribute] = field(default_factory=set)
    uses: set[Use] = field(default_factory=set)

    def read(self, sources: Iterable[tuple[str, str]]) -> set[Use]:
        """sources: names and texts."""
        trees = [(name, ast.parse(text)) for name, text in sources]
        for name, tree in trees:
            self._index(tree, name, None, "")
        before = -1
        while before != (now := self._known()):
            before = now
            for _, tree in trees:
                for node in ast.walk(tree):
                    self._learn(node)
        for _, tree in trees:
            for node in ast.walk(tree):
                self._use(node)
        return self.uses

    def unresolved(self) -> list[str]:
        """Attributes that look like TensorRT's own and were not traced to it: a hole in the inference."""
        ours = {*self.functions, *(name for _, name in self.attributes)}
        theirs = {name for members in self.api.values() for name in members if "_" in name}
        return [
            f"{self.files[node]}:{node.lineno}: {node.attr}"
            for node in self.files
            if isinstance(node, ast.Attribute)
            and node.attr in theirs
            and node.attr not in ours
            and node not in self.resolved
        ]

    def _known(self) -> int:
        maps = (self.attributes, self.variables, self.results)
        return sum(len(types) for each in maps for types in each.values())

    def _index(self, node: ast.AST, name: str, function: ast.FunctionDef | None, inside: str) -> None:
        self.owner[node], self.files[node], self.inside[node] = function, name, inside
        if isinstance(node, ast.FunctionDef):
            self.functions[node.name].append(node)
            function = node
        if isinstance(node, ast.ClassDef):
            self.classes[node.name] = node
            inside = node.name
        for child in ast.iter_child_nodes(node):
            self._index(child, name, function, inside)

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, self._types(node.value))
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            self._bind(node.target, self._types(node.value))
        elif isinstance(node, ast.Return) and node.value is not None:
            function = self.owner[node]
            assert function is not None
            self.results[function.name] |= self._types(node.value)
        elif isinstance(node, ast.Call):
            for function, skip in self._called(node):
                arguments = function.args.posonlyargs + function.args.args
                for parameter, value in zip(arguments[skip:], node.args, strict=False):
                    self.variables[id(function), parameter.arg] |= self._types(value)
                for keyword in node.keywords:
                    if keyword.arg is not None:
                        self.variables[id(function), keyword.arg] |= self._types(keyword.value)
            self._fields(node)

    def _called(self, node: ast.Call) -> Iterator[tuple[ast.FunctionDef, int]]:
        """Our own functions that a call may mean, and how many parameters come before the arguments."""
        if isinstance(node.func, ast.Attribute):
            if self._types(node.func.value) & {*self.api}:
                return
            for function in self.functions[node.func.attr]:
                yield function, int(function.args.args[:1] != [] and function.args.args[0].arg == "self")
        elif isinstance(node.func, ast.Name):
            if made := self.classes.get(node.func.id):
                for part in made.body:
                    if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                        yield part, 1
            else:
                for function in self.functions[node.func.id]:
                    yield function, 0

    def _fields(self, node: ast.Call) -> None:
        """A dataclass takes its fields in their order."""
        made = self.classes.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if made is None:
            return
        names = [
            part.target.id
            for part in made.body
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
        ]
        for name, value in zip(names, node.args, strict=False):
            self.attributes[made.name, name] |= self._types(value)
        for keyword in node.keywords:
            if keyword.arg in names:
                self.attributes[made.name, str(keyword.arg)] |= self._types(keyword.value)

    def _bind(self, target: ast.expr, types: Types) -> None:
        if isinstance(target, ast.Name):
            self.variables[id(self.owner[target]), target.id] |= types
        elif isinstance(target, ast.Attribute) and not self._types(target.value):
            inside = self.inside[target] if _is_self(target.value) else ""
            self.attributes[inside, target.attr] |= types

    def _types(self, node: ast.AST) -> Types:
        if isinstance(node, ast.Name):
            function = self.owner[node]
            while function is not None:  # a variable of the function around it is seen as well
                if found := self.variables[id(function), node.id]:
                    return frozenset(found)
                function = self.owner[function]
            return frozenset(self.variables[id(None), node.id])
        if isinstance(node, ast.Attribute):
            owners = self._types(node.value)
            if not owners:
                return self._attribute(node)
            classes = {f"={node.attr}" for owner in owners if owner == MODULE and node.attr in self.api}
            return frozenset(classes)
        if isinstance(node, ast.Call):
            return self._result(node)
        if isinstance(node, ast.BoolOp):
            return NONE.union(*(self._types(value) for value in node.values))
        if isinstance(node, ast.IfExp):
            return self._types(node.body) | self._types(node.orelse)
        if isinstance(node, ast.NamedExpr):
            return self._types(node.value)
        return NONE

    def _attribute(self, node: ast.Attribute) -> Types:
        """Of an object of ours; if it is not `self`, of any class that has one so called."""
        own = self.inside[node] if _is_self(node.value) else ""
        found = set(self._property(node.attr))
        for (inside, name), types in list(self.attributes.items()):
            if name == node.attr and (not own or inside in (own, "")):
                found |= types
        return frozenset(found)

    def _property(self, name: str) -> set[str]:
        plain = [each for each in self.functions[name] if each.decorator_list]
        return self.results[name] if plain else set()

    def _result(self, node: ast.Call) -> Types:
        if isinstance(node.func, ast.Attribute):
            if node.func.attr == "import_module" and "MODULES" in ast.dump(node.args[0]):
                return frozenset({MODULE})
            owners = self._types(node.func.value)
            if owners:
                found: set[str] = set()
                for owner in owners:
                    if owner == MODULE:
                        found |= {node.func.attr} & {*self.api}
                    for signature in self.api.get(owner.lstrip("="), {}).get(node.func.attr, []):
                        name = signature.rpartition(" ")[2]
                        found |= {name, name.removeprefix("I")} & {*self.api}  # IParserError is ParserError
                return frozenset(found)
            return frozenset(self.results[node.func.attr])
        if isinstance(node.func, ast.Name):
            return frozenset(self.results[node.func.id])
        # A class that a function of ours makes: `_logger_class(module)()`.
        return NONE

    def _use(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute):
            for owner in self._types(node.value):
                self._add(node, owner, node.attr)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "_member" and len(node.args) == 2:
                enum, member = node.args
                if isinstance(enum, ast.Constant):
                    name = member.value if isinstance(member, ast.Constant) else "*"
                    self._add_use(node, str(enum.value), str(name))
            for owner in self._types(node.func.value):
                called = node.func.attr
                if owner == MODULE and called in self.api:
                    owner, called = called, "__init__"
                names = tuple(keyword.arg for keyword in node.keywords if keyword.arg is not None)
                skip = 1 if owner.startswith("=") else 0  # `Class.method(self, ...)`
                self._add_use(node, owner.lstrip("="), called, len(node.args) - skip, names)

    def _add(self, node: ast.Attribute, owner: str, member: str) -> None:
        self.resolved.add(node)
        if owner == MODULE and member in self.api:
            self._add_use(node, member, "*" if "*" in self.api[member] else "__init__")
        elif not member.startswith("__"):
            self._add_use(node, owner.lstrip("="), member)

    def _add_use(
        self, node: ast.expr, owner: str, member: str, given: int = -1, named: Sequence[str] = ()
    ) -> None:
        where = f"{self.files[node]}:{node.lineno}"
        self.uses.add(Use(owner, member, where, given, tuple(named), self._guard(node)))

    def _guard(self, node: ast.AST) -> tuple[str, str] | None:
        """Of a function that begins with `if not hasattr(thing, "name"): raise`."""
        function = self.owner[node]
        first = function.body[0] if function is not None else None
        if not isinstance(first, ast.If) or not isinstance(first.body[-1], ast.Raise):
            return None
        test = first.test.operand if isinstance(first.test, ast.UnaryOp) else None
        if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == "hasattr":
            thing, name = test.args
            if isinstance(name, ast.Constant):
                return next(((owner, str(name.value)) for owner in self._types(thing)), None)
        return None


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def together(apis: Iterable[Api]) -> Api:
    """Every name and signature of any version."""
    found: Api = {}
    for api in apis:
        for owner, members in api.items():
            for member, signatures in members.items():
                found.setdefault(owner, {}).setdefault(member, []).extend(signatures)
    return found


def sources(folder: Path, *names: str) -> list[tuple[str, str]]:
    """The files of a room, by patterns."""
    paths = sorted(path for name in names for path in folder.glob(name))
    return [(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in paths]
