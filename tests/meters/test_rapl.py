from __future__ import annotations

from pathlib import Path

import pytest

from edgeattn.meters.rapl import Rapl
from tests.meters.powercap import RANGE_UJ, package, reading, zone


def test_the_packages_of_all_sockets_are_added_and_nothing_else(tmp_path: Path) -> None:
    sockets = [package(tmp_path, n, 1000) for n in (0, 1)]
    others = [
        zone(tmp_path, "intel-rapl:0:0", "core", 1000),
        zone(tmp_path, "intel-rapl:0:1", "dram", 1000),
        zone(tmp_path, "intel-rapl:2", "psys", 1000),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1000),  # the same package by another road
    ]
    meter = Rapl(tmp_path)

    assert meter.available() is None
    with meter.window() as window:
        reading(sockets[0], 3_001_000)
        reading(sockets[1], 2_001_000)
        for other in others:
            reading(other, 50_000_000)

    assert window.energy is not None
    assert window.energy.joules == pytest.approx(5.0)
    assert window.energy.scope == "package"
    assert window.energy.source == "RAPL, 2 package(s)"
    assert window.energy.seconds > 0


def test_a_sensor_that_root_alone_may_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, 0, 1000)
    open_file = Path.open

    def closed(path: Path, *args: str, **kwargs: str) -> object:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return open_file(path, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", closed)  # chmod would not stop tests that run as root
    reason = Rapl(tmp_path).available()

    assert reason is not None
    assert reason.startswith("energy_uj cannot be read: only root may (CVE-2020-8694)")
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in reason


def test_an_error_inside_the_window_goes_through_it(tmp_path: Path) -> None:
    package(tmp_path, 0, 1000)

    with pytest.raises(ZeroDivisionError), Rapl(tmp_path).window():
        raise ZeroDivisionError


def test_a_wrap_in_the_window_is_counted(tmp_path: Path) -> None:
    socket = package(tmp_path, 0, RANGE_UJ - 1)

    with Rapl(tmp_path).window() as window:
        reading(socket, 4)

    assert window.energy is not None
    assert window.energy.joules == pytest.approx(5e-6)
