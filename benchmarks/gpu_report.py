"""What was measured on a GPU: a table for people, and the same as JSON."""

from __future__ import annotations

import msgspec

from getgan import __version__
from getgan.printing import json_text
from getgan.runtime.devices import Gpu


class Way(msgspec.Struct, frozen=True):
    """One way to translate frames, with one batch; no times if `unavailable` says why it does not run."""

    name: str
    batch: int
    version: str = ""
    unavailable: str = ""
    max_levels: int | None = None  # from the golden picture, 8-bit levels
    psnr: float | None = None  # dB; None = equal, or not measured
    ssim: float | None = None
    wrong: str = ""  # what of the gate is not kept
    calls: int = 0
    p50: float | None = None  # seconds, uint8 in the CPU's memory to uint8 in the CPU's memory
    p99: float | None = None
    device: float | None = None  # seconds of the network alone, by the GPU's clock; None = not told
    trtexec: float | None = None  # the same engine, by NVIDIA's tool
    per_second: float | None = None  # pictures, with as many in a call as it likes


class GpuReport(msgspec.Struct, frozen=True, kw_only=True):
    """All ways, in one run."""

    network: str
    size: int
    gpu: Gpu
    system: str
    python: str
    libraries: dict[str, str]
    ways: tuple[Way, ...]
    operations: float | None = None  # of one picture
    peak: float | None = None  # FP16 operations per second of a large matrix product, measured here
    notes: tuple[str, ...] = ()
    getgan: str = __version__

    @property
    def passed(self) -> bool:
        """Whether something of getgan's own ran, and all of it gives the right pictures."""
        ours = [way for way in self.ways if not way.name.startswith("pytorch")]
        ran = any(not way.unavailable for way in ours)
        return ran and not any(way.wrong for way in ours)  # also of an engine that its gate kept from running

    def way(self, name: str, batch: int) -> Way | None:
        """The one of that name."""
        return next((way for way in self.ways if (way.name, way.batch) == (name, batch)), None)

    def text(self) -> str:
        """A table for people."""
        head = f"{self.network}, {self.size}x{self.size}"
        lines = [head, f"{self.gpu.name}, driver {self.gpu.driver}, {self.system}", ""]
        lines.append(
            f"{'way':42s} {'batch':>5s} {'p50 ms':>8s} {'p99 ms':>8s} {'device':>8s} {'trtexec':>8s} "
            f"{'pictures/s':>10s} {'x fp32':>7s}  pictures"
        )
        lines += [self._line(way) for way in self.ways]
        lines += ["", *self._shares(), *self.notes]
        return "\n".join(lines).rstrip()

    def to_json(self) -> str:
        """For machines."""
        return json_text(msgspec.to_builtins(self) | {"passed": self.passed})

    def _line(self, way: Way) -> str:
        if way.unavailable:
            return f"{way.name:42s} {way.batch:5d}  {way.unavailable}"
        times = " ".join(_ms(value) for value in (way.p50, way.p99, way.device, way.trtexec))
        slow = self.way("pytorch fp32 eager", way.batch)
        faster = f"{slow.p50 / way.p50:7.2f}" if slow and slow.p50 and way.p50 else f"{'':7s}"
        rate = f"{way.per_second:10.1f}" if way.per_second else f"{'':10s}"
        equal = "equal" if way.psnr is None else f"{way.psnr:.1f} dB, {way.max_levels} levels"
        wrong = f" WRONG: {way.wrong}" if way.wrong else ""
        return f"{way.name:42s} {way.batch:5d} {times} {rate} {faster}  {equal}{wrong}"

    def _shares(self) -> list[str]:
        """What getgan adds to the engine, and what the engine makes of the GPU."""
        found = []
        for way in self.ways:
            if way.p50 and way.device:
                added = 100.0 * (way.p50 - way.device) / way.device
                share = ""
                if self.peak and self.operations:
                    used = self.operations * way.batch / way.device / self.peak
                    share = f"; {100.0 * used:.0f} % of the measured FP16 matrix peak"
                found.append(f"{way.name}, batch {way.batch}: {added:.0f} % over the network alone{share}")
        return found


def _ms(seconds: float | None) -> str:
    return f"{'':8s}" if seconds is None else f"{1000.0 * seconds:8.3f}"
