"""What is said of this machine is true, and what is unknown is said to be."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from getgan.runtime import devices
from getgan.runtime.devices import Gpu, available_cores, library_version, machine, nvidia_gpus


def test_this_machine() -> None:
    found = machine()
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.cpu
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.version("numpy") == np.__version__
    assert found.version("nothing") == ""
    assert bool(found.gpus) != bool(found.gpus_note)
    if sys.platform == "linux":
        assert found.flags is not None
        assert (found.memory_mb or 0) > 100


def test_looking_imports_no_backend() -> None:
    import subprocess

    code = "import sys; from getgan.runtime.devices import machine; machine(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("'openvino'", "'onnxruntime'", "'cv2'", "'torch'"):
        assert name not in done.stdout


def test_a_missing_library() -> None:
    assert library_version("getgan-has-no-such-thing") == ""


FLAGS_X86 = "model name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16\n"
FLAGS_ARM = "processor\t: 0\nFeatures\t: fp asimd asimdhp bf16\n"


@pytest.mark.parametrize(
    ("text", "flags", "note"),
    [
        (FLAGS_X86, ("avx2", "avx512f", "avx512_bf16", "amx_bf16"), False),
        (FLAGS_ARM, ("asimd", "asimdhp", "bf16"), False),
        ("", None, True),
    ],
)
def test_cpu_flags(
    text: str, flags: tuple[str, ...] | None, note: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_read", lambda path: text)
    found, why = devices.cpu_flags()
    assert found == flags
    assert bool(why) == note


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no CPU affinity")
@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"/proc/self/cgroup": "0::/box\n", "/sys/fs/cgroup/box/cpu.max": "max 100000\n"}, 8),
        ({"/proc/self/cgroup": "0::/box\n", "/sys/fs/cgroup/box/cpu.max": "250000 100000\n"}, 3),
        ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 1),
        (
            {
                "/proc/self/cgroup": "4:cpu,cpuacct:/box\n1:name=systemd:/\n",
                "/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "200000\n",
                "/sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "/proc/self/cgroup": "4:cpu:/\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        (
            {
                f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n"
                for n in range(8)
            },
            4,
        ),
    ],
)
def test_cores_obey_affinity_threads_and_quota(
    files: dict[str, str], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(devices, "_read", lambda path: files.get(path, ""))
    assert available_cores() == cores


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell script as nvidia-smi")
def test_nvidia_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = "0, NVIDIA RTX A2000, 6138, 580.1, 8.6\\n1, Orin, [N/A], 540.4, 8.7\\n"
    program(tmp_path, monkeypatch, f"printf '{two}'")
    assert nvidia_gpus() == (
        (Gpu(0, "NVIDIA RTX A2000", 6138, "580.1", "8.6"), Gpu(1, "Orin", 0, "540.4", "8.7")),
        "",
    )
    program(tmp_path, monkeypatch, "echo 'driver/library version mismatch'; exit 18")
    assert nvidia_gpus() == ((), "nvidia-smi fails: driver/library version mismatch")
    program(tmp_path, monkeypatch, "true")
    assert nvidia_gpus() == ((), "nvidia-smi lists no GPU")
    monkeypatch.setattr(devices, "NVIDIA_SMI_SECONDS", 0.2)
    program(tmp_path, monkeypatch, "exec sleep 5")
    assert nvidia_gpus() == ((), "nvidia-smi does not answer (TimeoutExpired)")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert nvidia_gpus() == ((), "no nvidia-smi found, so no NVIDIA driver")
