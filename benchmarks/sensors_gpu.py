"""What NVIDIA's driver tells of one GPU while it works (NVML); or why it does not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from getgan.benchmarks.schema import Sensor
from getgan.benchmarks.sensors import Probe, Read
from getgan.runtime.devices import visible

# Bits of the reasons why a clock is held down that are no fault: idle, a setting, sync boost's pace.
HARMLESS = 0x1 | 0x2 | 0x10 | 0x100
NAMES = (
    ("gpu clock", "MHz"),
    ("gpu temperature", "C"),
    ("gpu power", "W"),
    ("gpu energy", "J"),
    ("gpu throttling", "reasons"),  # the driver's bits, without the harmless ones; 0 = at full speed
    ("device memory", "MB"),
)


@contextlib.contextmanager
def gpu_probes(device: str, pid: Callable[[], int | None]) -> Iterator[list[Probe]]:
    """Of "cuda:N", which CUDA numbers as `machine()` does; the driver is let go at the end."""
    if not device.startswith("cuda"):
        yield _absent("nothing was measured on a GPU")
        return
    try:
        import pynvml
    except ImportError:
        yield _absent("nvidia-ml-py is not installed: pip install nvidia-ml-py")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        yield _absent(f"no NVIDIA driver that answers ({error})")
        return
    try:
        yield _probes(pynvml, device, pid)
    finally:
        pynvml.nvmlShutdown()


def _probes(nvml: Any, device: str, pid: Callable[[], int | None]) -> list[Probe]:
    index = int(device.partition(":")[2] or 0)
    try:
        handle = _handle(nvml, index)
    except (nvml.NVMLError, IndexError) as error:
        return _absent(f"the NVIDIA driver lists no GPU {index} ({error})")

    def memory(_: float) -> float | None:
        process = pid()
        used = {each.pid: each.usedGpuMemory for each in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
        mine = used.get(process)
        # In a container the driver numbers processes otherwise: then all that is used on the GPU.
        return float(mine or nvml.nvmlDeviceGetMemoryInfo(handle).used) / 1e6

    reads: dict[str, tuple[str, Callable[[float], float | None]]] = {
        "gpu clock": (
            "nvmlDeviceGetClockInfo",
            lambda _: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        ),
        "gpu temperature": (
            "nvmlDeviceGetTemperature",
            lambda _: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        ),
        "gpu power": ("nvmlDeviceGetPowerUsage", lambda _: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3),
        "gpu energy": (
            "nvmlDeviceGetTotalEnergyConsumption",
            lambda _: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,
        ),
        "gpu throttling": (
            "nvmlDeviceGetCurrentClocksEventReasons",
            lambda _: float(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) & ~HARMLESS),
        ),
        "device memory": ("nvmlDeviceGetComputeRunningProcesses", memory),
    }
    found = []
    for name, unit in NAMES:
        source, read = reads[name]
        try:
            read(0.0)
        except nvml.NVMLError as error:
            found.append(
                Probe(Sensor(name, unit, source, f"the NVIDIA driver does not tell it ({error})"), None)
            )
        else:
            found.append(Probe(Sensor(name, unit, source), _safe(read, nvml.NVMLError)))
    return found


def _handle(nvml: Any, index: int) -> Any:
    """In the order of the PCI bus, of what CUDA_VISIBLE_DEVICES leaves; see `nvidia_gpus`."""
    handles = [nvml.nvmlDeviceGetHandleByIndex(n) for n in range(nvml.nvmlDeviceGetCount())]
    handles.sort(key=lambda handle: str(nvml.nvmlDeviceGetPciInfo(handle).busId))
    uuids = [str(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    return handles[visible(uuids, os.environ.get("CUDA_VISIBLE_DEVICES"))[index]]


def _safe(read: Read, error: type[Exception]) -> Read:
    def attempt(now: float) -> float | None:
        try:
            return read(now)
        except error:
            return None

    return attempt


def _absent(why: str) -> list[Probe]:
    return [Probe(Sensor(name, unit, "NVML", why), None) for name, unit in NAMES]
