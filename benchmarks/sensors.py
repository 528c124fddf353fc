"""What a machine tells of itself while it works: load, clocks, heat, memory, power; or why it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from getgan.benchmarks.schema import Sensor

ROOT = Path("/")
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
HEAT_TYPES = ("x86_pkg_temp", "cpu", "soc", "tj")  # of thermal zones; a disk's or a radio's is not the CPU's
HEAT_CHIPS = ("coretemp", "k10temp", "zenpower")


Read = Callable[[float], float | None]  # the time of the reading -> the value; None = it failed this time


@dataclass(frozen=True)
class Probe:
    """A sensor and how to read it; `read` None = it is absent, and the sensor says why."""

    sensor: Sensor
    read: Read | None


def host_probes(pid: Callable[[], int | None], root: Path = ROOT) -> list[Probe]:
    """Those of the processor; pid: of the process that is measured now. root: where /proc and /sys lie."""
    return [
        _load(root),
        _elsewhere(pid, root),
        _memory(pid, root),
        _clock(root),
        _throttling(root),
        _heat(root),
        _package_energy(root),
        _board_power(root),
    ]


def power_mode(root: Path = ROOT) -> str:
    """The CPU's governor and a Jetson's mode; "" = the machine tells of neither."""
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    jetson = _text(root / "var/lib/nvpmodel/status")
    return ", ".join(filter(None, (governor and f"governor {governor}", jetson and f"nvpmodel {jetson}")))


def _load(root: Path) -> Probe:
    path = root / "proc/loadavg"

    def read(_: float) -> float | None:
        return _number(path, 1.0)

    present = read(0.0) is not None
    return _probe("load", "programs", path, read if present else None, f"{path} cannot be read")


def _elsewhere(pid: Callable[[], int | None], root: Path) -> Probe:
    """CPU that programs other than the measured one take, on the CPUs that this process may use."""
    path = root / "proc/stat"
    before: tuple[float, int, float] | None = None

    def read(now: float) -> float | None:
        nonlocal before
        process = pid()
        busy = _busy(path)
        own = 0.0 if process is None else _process_seconds(root / f"proc/{process}/stat")
        ours = os.times()
        if busy is None or own is None:
            return None
        spent = busy - own - (ours.user + ours.system)
        last, before = before, (now, process or 0, spent)
        if last is None or last[1] != (process or 0) or now <= last[0]:
            return None
        return max(0.0, (spent - last[2]) / (now - last[0]))

    present = _busy(path) is not None
    missing = f"{path} does not tell of the CPUs that this process may use"
    return _probe("cpu of other programs", "cores", path, read if present else None, missing)


def _memory(pid: Callable[[], int | None], root: Path) -> Probe:
    def read(_: float) -> float | None:
        process = pid()
        words = _text(root / f"proc/{process}/statm").split()
        return int(words[1]) * PAGE / 1e6 if len(words) > 1 else None

    path = root / "proc/PID/statm"
    present = (root / "proc/self/statm").exists()
    missing = f"this system has no {path}"
    return _probe("host memory", "MB", path, read if present else None, missing)


def _clock(root: Path) -> Probe:
    folder = root / "sys/devices/system/cpu"
    files = sorted(folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))

    def read(_: float) -> float | None:
        return _mean([_number(file, 1e-3) for file in files])

    missing = f"no scaling_cur_freq in {folder}: the system does not tell the clock (a virtual machine?)"
    return _probe(
        "cpu clock", "MHz", folder / "cpu*/cpufreq/scaling_cur_freq", read if files else None, missing
    )


def _throttling(root: Path) -> Probe:
    folder = root / "sys/devices/system/cpu"
    files = sorted(folder.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))

    def read(_: float) -> float | None:
        return _sum([_number(file, 1.0) for file in files])

    missing = f"no thermal_throttle in {folder}: the CPU does not count it"
    return _probe(
        "cpu throttling",
        "times",
        folder / "cpu*/thermal_throttle/core_throttle_count",
        read if files else None,
        missing,
    )


def _heat(root: Path) -> Probe:
    zones = [
        zone / "temp"
        for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        if any(name in _text(zone / "type").lower() for name in HEAT_TYPES)
    ]
    zones += [
        file
        for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
        if _text(chip / "name") in HEAT_CHIPS
        for file in sorted(chip.glob("temp*_input"))
    ]
    files = [file for file in zones if _number(file, 1e-3) is not None]

    def read(_: float) -> float | None:
        return max((v for v in (_number(file, 1e-3) for file in files) if v is not None), default=None)

    missing = f"no temperature of a CPU in {root / 'sys/class/thermal'} or {root / 'sys/class/hwmon'}"
    return _probe(
        "cpu temperature",
        "C",
        files[0] if files else root / "sys/class/thermal",
        read if files else None,
        missing,
    )


def _package_energy(root: Path) -> Probe:
    """RAPL's counters, made to rise on where they start again from 0."""
    folder = root / "sys/class/powercap"
    packages = sorted(folder.glob("*-rapl:[0-9]"))
    files = [(package / "energy_uj", _number(package / "max_energy_range_uj", 1e-6)) for package in packages]
    last: dict[Path, float] = {}
    turns: dict[Path, float] = {}

    def read(_: float) -> float | None:
        total = 0.0
        for file, span in files:
            joules = _number(file, 1e-6)
            if joules is None:
                return None
            if joules < last.get(file, 0.0):
                turns[file] = turns.get(file, 0.0) + (span or 0.0)
            last[file] = joules
            total += joules + turns.get(file, 0.0)
        return total

    missing = f"no RAPL in {folder}: the CPU or the virtual machine does not give its energy"
    if files and any(_number(file, 1.0) is None for file, _ in files):
        missing, files = f"{files[0][0]} may be read by root only", []
    return _probe("package energy", "J", folder / "*-rapl:*/energy_uj", read if files else None, missing)


def _board_power(root: Path) -> Probe:
    """A Jetson's INA3221: the channel that feeds the whole module, VDD_IN, or the first."""
    chips = [
        chip
        for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
        if _text(chip / "name") == "ina3221"
    ]
    channels = [
        (chip / f"in{n}_input", chip / f"curr{n}_input", _text(chip / f"in{n}_label"))
        for chip in chips
        for n in (1, 2, 3)
        if _number(chip / f"in{n}_input", 1.0) is not None
        and _number(chip / f"curr{n}_input", 1.0) is not None
    ]
    channels.sort(key=lambda channel: channel[2] != "VDD_IN")

    def read(_: float) -> float | None:
        volts, amperes = _number(channels[0][0], 1e-3), _number(channels[0][1], 1e-3)
        return None if volts is None or amperes is None else volts * amperes

    where = channels[0][0] if channels else root / "sys/class/hwmon"
    missing = "no INA3221 in /sys/class/hwmon: this is no Jetson, or its driver is not loaded"
    return _probe("board power", "W", where, read if channels else None, missing)


def _probe(name: str, unit: str, source: Path, read: Read | None, missing: str) -> Probe:
    return Probe(Sensor(name, unit, str(source), "" if read else missing), read)


def _busy(path: Path) -> float | None:
    """Seconds that the CPUs of this process's affinity have worked since the system's start."""
    try:
        allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    except AttributeError:
        return None
    total = 0.0
    lines = [line.split() for line in _text(path).splitlines()]
    mine = [words for words in lines if words and words[0] in allowed]
    for words in mine:
        numbers = [int(word) for word in words[1:9]]
        total += sum(numbers) - sum(numbers[3:5])  # without idle and waiting for a disk
    return total / TICKS if mine else None


def _process_seconds(path: Path) -> float | None:
    """CPU seconds of a process and its threads; its name in the file may hold spaces."""
    words = _text(path).rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS if len(words) > 12 else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path, scale: float) -> float | None:
    try:
        return float(_text(path).split()[0]) * scale
    except (ValueError, IndexError):
        return None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
