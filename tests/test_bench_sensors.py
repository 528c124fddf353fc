"""Sensors as files tell them, and what is said where they do not; energy and growth of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from getgan.benchmarks import sensors
from getgan.benchmarks.sampling import MAX_KEPT, Excerpt, Sampler
from getgan.benchmarks.schema import Sensor
from getgan.benchmarks.sensors import Probe, host_probes, power_mode
from getgan.benchmarks.sensors_gpu import NAMES, gpu_probes


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def probes(root: Path, pid: int | None = 7) -> dict[str, Probe]:
    return {probe.sensor.name: probe for probe in host_probes(lambda: pid, root)}


def read(probe: Probe, now: float = 0.0) -> float | None:
    assert probe.read is not None and probe.sensor.absent == ""
    return probe.read(now)


def test_a_machine_that_tells_nothing_is_said_so_sensor_by_sensor(tmp_path: Path) -> None:
    found = probes(tmp_path)
    assert len(found) == 8 and all(probe.read is None and probe.sensor.absent for probe in found.values())
    assert "no RAPL in" in found["package energy"].sensor.absent
    assert "a virtual machine?" in found["cpu clock"].sensor.absent
    assert "this is no Jetson" in found["board power"].sensor.absent
    assert power_mode(tmp_path) == ""
    with Sampler(list(found.values())) as sampler:
        sampler.sample()
    excerpt = sampler.between(0.0, 1e9)
    assert excerpt.values == {} and excerpt.growth() == ()
    assert excerpt.joules(1.0) == (None, "no sensor tells of power or energy here")


def test_clocks_heat_and_throttling_are_read(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    root = tree(
        tmp_path,
        {
            "proc/loadavg": "1.25 0.5 0.1 1/9 9\n",
            f"{cpu}/cpu0/cpufreq/scaling_cur_freq": "2000000\n",
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "3000000\n",
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave\n",
            f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "3\n",
            f"{cpu}/cpu1/thermal_throttle/core_throttle_count": "4\n",
            "sys/class/thermal/thermal_zone0/type": "iwlwifi\n",
            "sys/class/thermal/thermal_zone0/temp": "99000\n",
            "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
            "sys/class/thermal/thermal_zone1/temp": "61500\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "98000\n",
            "var/lib/nvpmodel/status": "pmode:0002\n",
        },
    )
    found = probes(root)
    assert read(found["load"]) == 1.25 and read(found["cpu clock"]) == 2500.0
    assert read(found["cpu throttling"]) == 7.0
    assert read(found["cpu temperature"]) == 61.5  # of the CPU, not of the radio or the disk
    assert power_mode(root) == "governor powersave, nvpmodel pmode:0002"
    # A reading that fails later is no value, not 0.
    (root / f"{cpu}/cpu0/cpufreq/scaling_cur_freq").unlink()
    assert read(found["cpu clock"]) == 3000.0
    (root / f"{cpu}/cpu1/cpufreq/scaling_cur_freq").write_text("")
    assert read(found["cpu clock"]) is None


def test_package_energy_rises_where_its_counter_starts_again(tmp_path: Path) -> None:
    folder = "sys/class/powercap/intel-rapl:0"
    counter = f"{folder}/energy_uj"
    root = tree(tmp_path, {counter: "9000000", f"{folder}/max_energy_range_uj": "10000000"})
    energy = probes(root)["package energy"]
    assert read(energy) == 9.0
    tree(root, {counter: "1000000"})
    assert read(energy) == 11.0
    tree(root, {counter: "2000000"})
    assert read(energy) == 12.0


def test_a_jetsons_power_is_its_whole_module_s(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon3"
    files = {f"{chip}/name": "ina3221"}
    for number, label, volts, amperes in ((1, "VDD_CPU", 5000, 1000), (2, "VDD_IN", 5000, 2400)):
        files |= {f"{chip}/in{number}_label": label, f"{chip}/in{number}_input": str(volts)}
        files |= {f"{chip}/curr{number}_input": str(amperes)}
    assert read(probes(tree(tmp_path, files))["board power"]) == pytest.approx(12.0)


def test_cpu_of_others_leaves_out_the_measured_process_and_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "TICKS", 100)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "times", lambda: os.times_result((0.0, 0.0, 0.0, 0.0, 0.0)))

    def state(busy: int, own: int) -> None:
        # cpu2 is not ours; 500 ticks of idle and 9 of waiting for a disk are no work.
        lines = (
            f"cpu 1 1\ncpu0 {busy} 0 0 500 9 0 0 0\ncpu1 {busy} 0 0 500 9 0 0 0\ncpu2 9999 0 0 0 0 0 0 0\n"
        )
        process = f"7 (a (b) c) S {' '.join(['0'] * 10)} {own} 0 0\n"
        tree(tmp_path, {"proc/stat": lines, "proc/7/stat": process})

    state(100, 50)
    probe = probes(tmp_path)["cpu of other programs"]
    assert read(probe, 10.0) is None  # the first one has nothing before it
    state(200, 150)
    assert read(probe, 11.0) == pytest.approx(1.0)  # 2 s of work in 1 s, 1 of them the process's
    state(300, 350)
    assert read(probe, 12.0) == pytest.approx(0.0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_the_measured_process_s_own() -> None:
    found = {probe.sensor.name: probe for probe in host_probes(os.getpid)}
    before = read(found["host memory"])
    block = bytearray(b"x" * 50_000_000)
    after = read(found["host memory"])
    assert before is not None and after is not None and len(block) == 50_000_000
    assert 40 < after - before < 60
    gone = {probe.sensor.name: probe for probe in host_probes(lambda: None)}
    assert read(gone["host memory"]) is None


def test_without_a_gpu_each_of_its_sensors_says_why() -> None:
    with gpu_probes("cpu", lambda: None) as found:
        assert [probe.sensor.name for probe in found] == [name for name, _ in NAMES]
        assert {probe.sensor.absent for probe in found} == {"nothing was measured on a GPU"}


def test_a_gpu_that_the_driver_does_not_have_is_said() -> None:
    pytest.importorskip("pynvml")
    with gpu_probes("cuda:77", lambda: None) as found:
        assert all(probe.read is None for probe in found)
        assert "NVIDIA driver" in found[0].sensor.absent


# --- a run's share of the readings ----------------------------------------------------------------------


def excerpt(**values: list[float | None]) -> Excerpt:
    names = {name.replace("_", " "): found for name, found in values.items()}
    return Excerpt([float(n) for n in range(len(next(iter(values.values()))))], names)


def test_energy_comes_from_a_counter_before_a_power() -> None:
    assert excerpt(package_energy=[100.0, 130.0, 160.0], board_power=[9.0] * 3).joules(4.0) == (
        120.0,
        "package energy",
    )
    assert excerpt(board_power=[10.0, 14.0, None]).joules(2.0) == (24.0, "board power, mean of 2")
    joules, why = excerpt(package_energy=[100.0]).joules(4.0)
    assert joules is None and "too short for two readings of the package energy" in why


def test_memory_grows_by_its_slope() -> None:
    found = excerpt(host_memory=[100.0, 101.0, None, 103.0])
    (growth,) = found.growth()
    assert (growth.what, growth.first_mb, growth.last_mb, growth.peak_mb) == ("host", 100.0, 103.0, 103.0)
    assert growth.mb_per_hour == pytest.approx(3600.0)


def test_a_long_soak_keeps_a_bounded_number_of_readings() -> None:
    times, readings = excerpt(host_memory=[float(n) for n in range(10 * MAX_KEPT + 1)]).kept()
    assert len(times) == len(readings[0].values) <= MAX_KEPT and readings[0].values[:2] == (0.0, 11.0)


def test_a_sampler_cuts_out_the_time_of_a_run() -> None:
    numbers = iter(range(100))
    count: Callable[[float], float | None] = lambda _: float(next(numbers))  # noqa: E731
    with Sampler([Probe(Sensor("x", "", ""), count), Probe(Sensor("y", "", "", "gone"), None)]) as sampler:
        for _ in range(4):
            sampler.sample()
    assert set(sampler.values) == {"x"} and len(sampler.times) >= 4
    middle = sampler.between(sampler.times[1], sampler.times[3])
    assert middle.values["x"] == sampler.values["x"][1:3] and middle.times[0] == 0.0
