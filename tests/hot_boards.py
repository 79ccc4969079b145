"""Boards and machines whose conditions tests change, as files below a root.

Written after the documented formats, as tests/devices/trees: the kernel's Documentation/driver-api/thermal/sysfs-api,
admin-guide/pm/cpufreq, hwmon/ina3221 and ABI/testing/sysfs-devices-system-cpu; NVIDIA's driver tegra23x-oc-event and
its developer guide; raspberrypi.com/documentation for the firmware's bits. Readings are made up.
"""

from __future__ import annotations

import shutil
from pathlib import Path

TREES = Path(__file__).parent / "devices" / "trees"
ZONES = ("cpu-thermal", "gpu-thermal", "cv0-thermal", "tj-thermal")
GPU = "sys/class/thermal/thermal_zone1/temp"
OC3 = "sys/class/hwmon/hwmon2/oc3_event_cnt"
ALERT = "sys/class/thermal/cooling_device1/cur_state"
ALARM = "sys/class/hwmon/hwmon1/curr1_crit_alarm"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


def put(root: Path, files: dict[str, object]) -> Path:
    """Write `files`, path below root -> content, and return root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def orin(root: Path, celsius: float = 45.0) -> Path:
    """A Jetson Orin Nano in its 15 W mode: throttles at 99 degrees; its zone cv0 is switched off."""
    shutil.copytree(TREES / "orin-nano-8gb", root, dirs_exist_ok=True)
    files: dict[str, object] = {}
    for place, name in enumerate(ZONES):
        zone = f"sys/class/thermal/thermal_zone{place}"
        files |= {f"{zone}/type": name, f"{zone}/temp": -256000 if name.startswith("cv") else round(celsius * 1000)}
        trips = [("active", 51000), ("passive", 99000), ("critical", 104500)]
        for number, (kind, millidegrees) in enumerate(trips):
            files |= {f"{zone}/trip_point_{number}_type": kind, f"{zone}/trip_point_{number}_temp": millidegrees}
    for place, name in enumerate(("pwm-fan", "gpu-throttle-alert", "hot-surface-alert")):
        cooling = f"sys/class/thermal/cooling_device{place}"
        files |= {f"{cooling}/type": name, f"{cooling}/cur_state": 3 if name == "pwm-fan" else 0}
    files |= {"sys/class/hwmon/hwmon2/name": "soctherm_oc"}
    files |= {f"sys/class/hwmon/hwmon2/oc{number}_event_cnt": count for number, count in ((1, 0), (2, 5), (3, 37))}
    files |= {"sys/class/hwmon/hwmon1/name": "ina3221", "sys/class/hwmon/hwmon1/in1_label": "VDD_IN", ALARM: 0}
    for core in range(6):
        policy = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        files |= {f"{policy}/scaling_governor": "schedutil", f"{policy}/scaling_cur_freq": 729600 + 1000 * core}
        files |= {f"{policy}/scaling_max_freq": 1510400}
    gpu = "sys/class/devfreq/17000000.gpu"
    files |= {f"{gpu}/cur_freq": 306000000, f"{gpu}/max_freq": 624750000}
    files |= {"sys/class/devfreq/15480000.nvdec/cur_freq": 999000000}
    return put(root, files)


def x86(root: Path) -> Path:
    """A PC that counts its throttling, and whose maker's zone has a low trip point."""
    files: dict[str, object] = {
        "sys/class/thermal/thermal_zone0/type": "acpitz",
        "sys/class/thermal/thermal_zone0/temp": 58000,
        "sys/class/thermal/thermal_zone0/trip_point_0_type": "passive",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": 55000,
        "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp",
        "sys/class/thermal/thermal_zone1/temp": 71000,
        "sys/class/thermal/thermal_zone1/trip_point_0_type": "passive",
        "sys/class/thermal/thermal_zone1/trip_point_0_temp": -274000,
        "sys/class/thermal/cooling_device0/type": "TCC Offset",
        "sys/class/thermal/cooling_device0/cur_state": 3,
        "sys/class/thermal/cooling_device1/type": "Processor",
        "sys/class/thermal/cooling_device1/cur_state": 0,
    }
    for core in range(2):
        cpu = f"sys/devices/system/cpu/cpu{core}"
        files |= {f"{cpu}/cpufreq/scaling_governor": "powersave" if core else "performance"}
        files |= {f"{cpu}/cpufreq/scaling_cur_freq": 3100000, f"{cpu}/cpufreq/scaling_max_freq": 4700000}
        files |= {f"{cpu}/thermal_throttle/core_throttle_count": core}
        files |= {f"{cpu}/thermal_throttle/package_throttle_count": 4}
    return put(root, files)


def raspberry_pi(root: Path, bits: str = "0") -> Path:
    """A Raspberry Pi whose kernel has the firmware's bits in a file."""
    zone = "sys/class/thermal/thermal_zone0"
    files: dict[str, object] = {FIRMWARE: bits, f"{zone}/type": "cpu-thermal", f"{zone}/temp": 61200}
    files |= {f"{zone}/trip_point_0_type": "critical", f"{zone}/trip_point_0_temp": 110000}
    files |= {"sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0"}
    return put(root, files)
