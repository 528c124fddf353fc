"""What is said of this machine is true, and what is unknown is said to be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from getgan.runtime import devices
from getgan.runtime.devices import Gpu, available_cores, library_version, machine, nvidia_gpus, visible


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


def test_it_looks_for_what_the_backends_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getgan.runtime.backends.catalog.DISTRIBUTIONS", ("pytest", "numpy"))
    assert machine().version("pytest") == pytest.__version__
    assert [found.name for found in machine().libraries].count("numpy") == 1


def test_looking_imports_no_backend() -> None:
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


DRIVER = r"""
#include <stdio.h>
#include <string.h>
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } Pci;
typedef struct { unsigned long long total, free, used; } Memory;
static long number(void *handle) { return (long)handle - 1; }
int nvmlInitWithFlags(unsigned flags) { return INIT; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = COUNT; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(long)(index + 1);
    return 0;
}
int nvmlDeviceGetPciInfo_v3(void *handle, Pci *pci) {
    memset(pci, 0, sizeof *pci);
    sprintf(pci->bus_id, "00000000:0%ld:00.0", 9 - number(handle));
    return 0;
}
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    return snprintf(text, size, "GPU-%ld0000000", number(handle)) < 0;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) {
    return snprintf(text, size, number(handle) ? "NVIDIA RTX A2000" : "Orin") < 0;
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { return snprintf(text, size, "580.1") < 0; }
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    memory->total = 6138ull << 20;
    return number(handle) ? 0 : 3;
}
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    *major = 8;
    *minor = number(handle) ? 6 : 7;
    return 0;
}
"""


def found_with_driver(folder: Path, names: str | None = None, *, count: int = 2, init: int = 0) -> str:
    """What `nvidia_gpus` gives with a driver library of our own, numbered against the bus."""
    source = folder / "driver.c"
    source.write_text(DRIVER.replace("COUNT", str(count)).replace("INIT", str(init)))
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if names is not None:
        environment["CUDA_VISIBLE_DEVICES"] = names
    code = "from getgan.runtime.devices import nvidia_gpus; print(nvidia_gpus())"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


needs_stub = pytest.mark.skipif(
    find_spec("pynvml") is None or shutil.which("gcc") is None or sys.platform != "linux",
    reason="needs nvidia-ml-py and a compiler",
)


@needs_stub
def test_gpus_in_the_order_of_the_bus(tmp_path: Path) -> None:
    first = Gpu(0, "NVIDIA RTX A2000", 6138, "580.1", "8.6")
    second = Gpu(1, "Orin", 0, "580.1", "8.7")
    assert found_with_driver(tmp_path) == str(((first, second), ""))
    only = replace(second, index=0)
    assert found_with_driver(tmp_path, "1") == str(((only,), ""))
    assert found_with_driver(tmp_path, "GPU-00000000") == str(((only,), ""))


@needs_stub
def test_why_there_is_no_gpu(tmp_path: Path) -> None:
    assert "CUDA_VISIBLE_DEVICES= hides every GPU" in found_with_driver(tmp_path, "")
    assert "the NVIDIA driver lists no GPU" in found_with_driver(tmp_path, count=0)
    assert "no NVIDIA driver that answers (Driver Not Loaded)" in found_with_driver(tmp_path, init=9)


def test_without_the_package_that_asks_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    gpus, why = nvidia_gpus()
    assert gpus == () and why.endswith("no GPU was looked for: pip install nvidia-ml-py")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        (" 1 ", [1]),
        ("1,1,0", [1]),
        ("0,7,1", [0]),
        ("-1", []),
        ("GPU-b", [2]),
        ("GPU-a", []),  # two begin so
        ("GPU-a1,GPU-b", [0, 2]),
        ("NoDevFiles", []),
    ],
)
def test_visible_devices_as_cuda_reads_them(names: str | None, expected: list[int]) -> None:
    assert visible(["GPU-a1", "GPU-a2", "GPU-b1"], names) == expected
