"""Runs Python in a bare home and watches it: by its audit events, or by strace in every system call."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import getgan

# Each process writes its sockets, look-ups and changed files into $WATCH_LOG. Internet sockets are refused: a
# library that reports must not do so from the tests.
HOOK = """
import os, socket, sys

log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND)
changed = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.truncate": 0}


def watch(event, arguments):
    if event.startswith("socket."):
        if any(isinstance(a, socket.socket) and a.family == socket.AF_UNIX for a in arguments):
            return
        if event == "socket.__new__" and arguments[1] == socket.AF_UNIX:
            return
        os.write(log, f"NET {event} {arguments!r}\\n".encode())
        raise OSError("not from the tests")
    if event == "open":
        path, _, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        path, writes = arguments[changed[event]] if event in changed else None, event in changed
        writes = writes and not (event == "os.mkdir" and os.path.isdir(path))  # makes nothing
    if writes and isinstance(path, (str, bytes, os.PathLike)):
        os.write(log, f"FILE {os.path.abspath(os.fsdecode(path))}\\n".encode())


sys.addaudithook(watch)
"""

STRACE = (
    "strace",
    "-ff",  # a file per thread: no call is cut in two
    "-qq",
    "-y",  # AT_FDCWD and file descriptors with their paths
    "--seccomp-bpf",  # stops at the wanted calls alone, or the suite takes half an hour
    "--signal=none",
    "--trace=%network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "unlink,unlinkat,rmdir,truncate,mknod,mknodat",
)
CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
PLACE = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
WRITES = re.compile(r'", (?:\w+\|)*(?:O_WRONLY|O_RDWR|O_CREAT)\b')


@dataclass(frozen=True)
class Seen:
    """What a command did; all but its exit code should be as asked."""

    done: subprocess.CompletedProcess[str]
    network: list[str] = field(default_factory=list)  # sockets, look-ups, connections
    files: list[Path] = field(default_factory=list)  # written, made, renamed, removed
    left: list[Path] = field(default_factory=list)  # in the home, temporary and working folder, at the end


class Machine:
    """A home, a temporary and a working folder, all empty, and an environment that holds no CI."""

    def __init__(self, folder: Path) -> None:
        self.home, self.tmp, self.cwd = (folder / name for name in ("home", "tmp", "cwd"))
        self.logs, self.out = folder / "logs", folder / "out"
        for place in (self.home, self.tmp, self.cwd, self.logs, self.out):
            place.mkdir(parents=True)
        (self.logs / "sitecustomize.py").write_text(HOOK)
        source = Path(getgan.__file__).parents[1]
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "PYTHONPATH": str(source),
            "PYTHONDONTWRITEBYTECODE": "1",  # compiled modules belong to the installation
        }

    def audited(self, *arguments: str | Path) -> Seen:
        """`python ARGUMENTS` by audit events: Python's own calls, in Python's processes."""
        log = self.logs / "audit.txt"
        log.write_text("")
        path = f"{self.logs}{os.pathsep}{self.environment['PYTHONPATH']}"
        extra = {"WATCH_LOG": str(log), "PYTHONPATH": path}
        done = self._run([], arguments, extra)
        lines = log.read_text().splitlines()
        network = [line[4:] for line in lines if line.startswith("NET ")]
        files = [Path(line[5:]) for line in lines if line.startswith("FILE ")]
        return Seen(done, network, files, self._left())

    def traced(self, *arguments: str | Path, alone: bool = True) -> Seen:
        """`python ARGUMENTS` by system calls, of libraries and of all processes.

        alone: in a network of its own, where users may make one.
        """
        for log in self.logs.glob("trace.*"):
            log.unlink()
        before = [*(namespace() if alone else ()), *STRACE, "-o", str(self.logs / "trace")]
        done = self._run(before, arguments, {})
        network: list[str] = []
        files: list[Path] = []
        for log in sorted(self.logs.glob("trace.*")):
            for line in log.read_text(errors="replace").splitlines():
                network += _network(line)
                files += _files(line, self.cwd)
        return Seen(done, network, files, self._left())

    def _run(
        self, before: list[str], arguments: tuple[str | Path, ...], extra: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*before, sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=self.cwd,
            env=self.environment | extra,
            timeout=600,
        )

    def _left(self) -> list[Path]:
        return [path for place in (self.home, self.tmp, self.cwd) for path in place.rglob("*")]


@cache
def namespace() -> tuple[str, ...]:
    """What gives a command a network without any way out; empty where users may not have one."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode
    ):
        return ()
    return ("unshare", "-rn")


def _network(line: str) -> Iterator[str]:
    """A socket that is not for processes of this machine, and every connection, tried or made."""
    call = line.partition("(")[0]
    if call == "socket" and not line.startswith("socket(AF_UNIX,"):
        yield line
    # glibc asks its cache of user names, if there is one.
    if call in ("connect", "bind") and 'sun_path="/var/run/nscd/socket"' not in line:
        yield line


def _files(line: str, cwd: Path) -> Iterator[Path]:
    """What a call wrote, made, renamed or removed, if it succeeded."""
    match = CALL.match(line)
    if not match or int(match[3]) < 0 or not match[1].startswith(FILE_CALLS):
        return
    if match[1] in ("open", "openat") and not WRITES.search(line):
        return
    for folder, path in PLACE.findall(match[2]):
        yield Path(os.path.normpath(Path(folder or cwd) / path))


FILE_CALLS = ("open", "creat", "mkdir", "rename", "link", "symlink", "unlink", "rmdir", "truncate", "mknod")
