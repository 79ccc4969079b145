"""Momentary conditions of boards and machines, read below a root, and the changes that disturb a measurement."""

from __future__ import annotations

import sys

import hot_boards
import pytest
from nvml_driver import OneGpu

from edgeattn.devices.conditions import Probe, disturbance
from edgeattn.devices.conditions.raspberry_pi import Firmware


def now(root):
    return Probe(root).read()


def what_happened(root, files):
    """What is said of a machine whose files change."""
    probe = Probe(root)
    before = probe.read()
    hot_boards.put(root, files)
    return disturbance(before, probe.read())


def test_a_jetson(tmp_path):
    assert now(hot_boards.orin(tmp_path)).facts() == {
        "power_mode": "15W",
        "governor": "schedutil",
        "cpu_mhz": 735,
        "gpu_mhz": 306,
        "cpu_limit_mhz": 1510,
        "gpu_limit_mhz": 625,
        "temperatures_c": {"cpu-thermal": 45.0, "gpu-thermal": 45.0, "tj-thermal": 45.0},
        "throttles_at_c": {"cpu-thermal": 99.0, "gpu-thermal": 99.0, "tj-thermal": 99.0},
        "throttled": [],
        "heat": {},
        "over_current": {"under-voltage (OC1)": 0, "average over-current (OC2)": 5, "peak over-current (OC3)": 37},
    }
    assert Probe(tmp_path).guarded


def test_a_pc(tmp_path):
    found = now(hot_boards.x86(tmp_path))
    assert (found.governor, found.cpu_mhz, found.gpu_mhz) == ("performance, powersave", 3100, None)
    assert found.heat == {"a core throttled by heat": 1, "the CPU throttled by heat": 8}
    assert found.throttled == ()
    assert [str(zone) for zone in found.zones] == ["acpitz at 58 C", "CPU package at 71 C"]
    assert not Probe(tmp_path).guarded, "the trip points of a PC are not those of its chip"


def test_a_machine_that_tells_nothing(tmp_path):
    assert now(tmp_path).facts() == {
        "power_mode": None,
        "governor": None,
        "cpu_mhz": None,
        "gpu_mhz": None,
        "cpu_limit_mhz": None,
        "gpu_limit_mhz": None,
        "temperatures_c": {},
        "throttles_at_c": {},
        "throttled": [],
        "heat": {},
        "over_current": {},
    }
    assert disturbance(now(tmp_path), now(tmp_path)) is None


@pytest.mark.parametrize("reading", ["", "0", "-256000", "999000", "no data", "12\x1b[31m"])
def test_a_faulty_sensor_is_absent_never_0(tmp_path, reading):
    root = hot_boards.orin(tmp_path)
    clock, limit = (f"sys/devices/system/cpu/cpu0/cpufreq/scaling_{name}_freq" for name in ("cur", "max"))
    hot_boards.put(
        root, {hot_boards.GPU: reading, clock: "<unknown>", limit: 0, "sys/class/devfreq/17000000.gpu/cur_freq": 0}
    )
    found = now(root)
    assert "gpu-thermal" not in found.facts()["temperatures_c"]
    assert "cpu0" not in found.limits_mhz
    assert found.gpu_mhz is None


@pytest.mark.parametrize("reading", ["", "-1", "0x5", "12\x1b[31m"])
def test_a_faulty_counter_is_absent(tmp_path, reading):
    root = hot_boards.put(hot_boards.orin(tmp_path), {hot_boards.OC3: reading})
    assert now(root).over_current == {"under-voltage (OC1)": 0, "average over-current (OC2)": 5}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"var/lib/nvpmodel/status": "pmode:0001"}, "the power mode changed from 15W to 7W"),
        ({hot_boards.OC3: 39}, "over-current: peak over-current (OC3), 2 x"),
        ({hot_boards.OC3: 3}, None),  # it has started anew
        ({hot_boards.OC3: ""}, None),  # unknown
        ({hot_boards.ALARM: 1}, "throttling: over-current alarm of VDD_IN"),
        (
            {hot_boards.ALERT: 1, hot_boards.GPU: 99500},
            "throttling: slowed by heat (gpu-throttle-alert); GPU at 100 C, throttles at 99 C",
        ),
        ({"sys/class/thermal/cooling_device0/cur_state": 4}, None),  # the fan
        (
            {"sys/devices/system/cpu/cpu3/cpufreq/scaling_max_freq": 729600, hot_boards.GPU: 91000},
            "the highest clock of cpu3 changed from 1510 to 730 MHz; GPU at 91 C, throttles at 99 C",
        ),
        (
            {"sys/class/devfreq/17000000.gpu/max_freq": 306000000},
            "the highest clock of the GPU changed from 625 to 306 MHz",
        ),
    ],
)
def test_what_is_said_of_a_jetson(tmp_path, files, said):
    assert what_happened(hot_boards.orin(tmp_path), files) == said


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": 4}, "a core throttled by heat, 3 x"),
        ({"sys/class/thermal/cooling_device1/cur_state": 2}, "slowed by heat (Processor)"),
    ],
)
def test_what_is_said_of_a_pc(tmp_path, files, said):
    assert what_happened(hot_boards.x86(tmp_path), files).startswith(f"throttling: {said}")


def test_another_governor_is_said(tmp_path):
    root = hot_boards.x86(tmp_path)
    files = {f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": "powersave" for core in range(2)}
    assert what_happened(root, files) == "the governor changed from performance, powersave to powersave"


def test_the_bits_of_a_raspberry_pi(tmp_path):
    root = hot_boards.raspberry_pi(tmp_path, "50005")
    found = now(root)
    assert found.throttled == ("under-voltage", "the CPU throttled")
    assert [name for name, happened in found.heat.items() if happened] == ["under-voltage", "the CPU throttled"]
    hot_boards.put(root, {hot_boards.FIRMWARE: "0"})
    assert what_happened(root, {hot_boards.FIRMWARE: "80000"}) == "throttling: soft temperature limit, 1 x"
    assert now(hot_boards.put(root, {hot_boards.FIRMWARE: "what?"})).heat == {}
    assert "cpu-thermal" in found.facts()["temperatures_c"]
    assert found.facts()["throttles_at_c"] == {}


@pytest.mark.parametrize(
    ("script", "bits"), [("echo throttled=0x50000", 0x50000), ("echo VCHI initialization failed; exit 255", None)]
)
def test_the_bits_come_from_vcgencmd_where_no_file_has_them(tmp_path, script, bits):
    command = tmp_path / "vcgencmd"
    command.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] && {script}\n')
    command.chmod(0o755)
    assert Firmware(tmp_path, str(command)).bits() == bits
    assert Firmware(tmp_path, str(tmp_path / "missing")).bits() is None


class Driver(OneGpu):
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 1, 0, 1
    bits, celsius = 0, 64

    def nvmlDeviceGetClockInfo(self, gpu, kind):
        return 1755

    def nvmlDeviceGetTemperature(self, gpu, kind):
        return self.celsius

    def nvmlDeviceGetTemperatureThreshold(self, gpu, kind):
        return 90

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu):
        raise self.NVMLError("Function Not Found")  # the package knows it, the driver does not

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu):
        return self.bits


def test_an_nvidia_gpu(tmp_path, monkeypatch):
    driver = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    root = hot_boards.put(tmp_path, {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t RTX A4000"})
    probe = Probe(root)
    found = probe.read()
    assert (found.gpu_mhz, [str(zone) for zone in found.zones]) == (1755, ["GPU at 64 C, throttles at 90 C"])
    assert found.throttled == ()
    driver.bits, driver.celsius = 0x4 | 0x40, 89
    assert disturbance(found, probe.read()) == (
        "throttling: the GPU slowed by heat, in hardware; GPU at 89 C, throttles at 90 C"
    )
    assert probe.throttled() == ("the GPU slowed by heat, in hardware",)
    driver.bits = 0x4  # its power limit: the power mode of a GPU
    assert probe.throttled() == ()


def test_an_nvidia_gpu_without_its_python_package_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    root = hot_boards.put(tmp_path, {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t RTX A4000"})
    assert now(root).zones == ()
