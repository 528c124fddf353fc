"""How much disk an installation takes: a distribution and all that it needs, file by file."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

import getgan
from getgan.errors import ConfigError


@dataclass(frozen=True)
class Package:
    """An installed distribution."""

    name: str
    version: str
    mb: float  # 10^6 bytes of its files, compiled ones included


@dataclass(frozen=True)
class Installed:
    """A distribution with all that it needs, the largest first."""

    what: str
    packages: tuple[Package, ...]

    @property
    def mb(self) -> float:
        """Of all packages."""
        return sum(package.mb for package in self.packages)

    def text(self) -> str:
        """Rows for people."""
        rows = [f"{f'{package.name} {package.version}':34}{package.mb:>9.1f} MB" for package in self.packages]
        return "\n".join([f"{f'installed for {self.what}':34}{self.mb:>9.1f} MB", *rows])


def measure_install(name: str, extras: frozenset[str] = frozenset()) -> Installed:
    """The distribution and all that it needs on this system; ConfigError if one of them is not installed.

    Without Python itself. A distribution counts once, whoever needs it.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError as error:  # onnxruntime brings it
        raise ConfigError(
            "found no packaging, which reads requirements; wanted it: pip install packaging"
        ) from error
    sizes: dict[str, Package] = {}
    seen: set[tuple[str, str]] = set()
    open_ends = [(name, extra) for extra in ("", *sorted(extras))]
    while open_ends:
        wanted, extra = open_ends.pop()
        distribution = _distribution(wanted)
        key = canonical(distribution.metadata["Name"])
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        if key not in sizes:
            megabytes = sum(map(_bytes, _files(distribution, key))) / 1e6
            sizes[key] = Package(distribution.metadata["Name"], distribution.version, megabytes)
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                open_ends += [(requirement.name, more) for more in ("", *sorted(requirement.extras))]
    packages = sorted(sizes.values(), key=lambda package: (-package.mb, package.name))
    what = f"{name}[{','.join(sorted(extras))}]" if extras else name
    return Installed(what, tuple(packages))


def canonical(name: str) -> str:
    """As package indexes compare names."""
    return name.lower().replace("_", "-").replace(".", "-")


def _distribution(name: str) -> Distribution:
    try:
        return importlib.metadata.distribution(name)
    except PackageNotFoundError:
        raise ConfigError(f"{name} is not installed by pip here; wanted it: pip install {name}") from None


def _files(distribution: Distribution, key: str) -> Iterator[Path]:
    if key != "getgan":
        yield from (Path(str(file.locate())) for file in distribution.files or ())
        return
    # An editable installation lists a few files only; the package has them all.
    for folder, folders, names in os.walk(Path(getgan.__file__).parent, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(folder) / name for name in names)


def _bytes(file: Path) -> int:
    """0 for a file that is listed and not there."""
    return file.stat().st_size if file.is_file() else 0
