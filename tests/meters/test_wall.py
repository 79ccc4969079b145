"""A wall meter behind a command, and behind a serial port (a pseudo terminal)."""

from __future__ import annotations

import os
import pty
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from edgeattn.meters import WALL_VARIABLE, choose
from edgeattn.meters.wall import WallMeter, watts
from tests.meters.test_choose import MODEL, profile


def _command(code: str) -> str:
    """Python code in an own process, with `say(text)` to print a line."""
    start = "import time\ndef say(text): print(text, flush=True)\n"
    return f"{sys.executable} -S -c '{start}{code}'"


STEADY = _command('n = 0\nwhile True: n += 1; say(f"{9 + n % 3} W"); time.sleep(0.01)')


def test_a_command_that_prints_watts_is_a_meter() -> None:
    meter = WallMeter(STEADY)

    assert meter.available() is None
    assert 0.01 <= meter.period_s < 0.5
    with meter.window() as window:
        time.sleep(0.3)

    assert window.energy is not None, window.reason
    assert window.energy.watts == pytest.approx(10.0, rel=0.05)
    assert window.energy.scope == "wall"
    assert window.energy.source.startswith("wall meter, ")


def test_the_command_ends_with_the_window() -> None:
    with WallMeter(STEADY).window():
        running = psutil.Process().children(recursive=True)
        assert running
    assert psutil.wait_procs(running, timeout=5)[1] == []


def test_how_often_the_meter_reads_is_learnt() -> None:
    meter = WallMeter(_command("for n in range(1000): say(9 + n % 2); time.sleep(0.2)"))

    assert meter.available() is None
    assert 0.15 < meter.period_s < 1


@contextmanager
def _port(lines: list[bytes]) -> Iterator[str]:
    """A serial port on which these lines come again and again."""
    master, slave = pty.openpty()
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            for line in lines:
                os.write(master, line)
                done.wait(0.02)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        done.set()
        thread.join()
        os.close(slave)
        os.close(master)


def test_a_serial_port_is_a_meter() -> None:
    with _port([b"21.5\r\n", b"22.5\r\n"]) as name:
        meter = WallMeter(f"{name}@115200")
        assert meter.available() is None
        with meter.window() as window:
            time.sleep(0.3)

    assert window.energy is not None, window.reason
    assert window.energy.watts == pytest.approx(22.0, rel=0.03)
    assert window.energy.source == f"wall meter, {name}"


@pytest.mark.parametrize(
    ("configured", "reason"),
    [
        (None, "no wall meter is set up: EDGEATTN_WALL_METER names a command or a serial port that gives watts"),
        ("", "no wall meter is set up: EDGEATTN_WALL_METER names a command or a serial port that gives watts"),
        ("/no/such/command", "command cannot be run: No such file or directory"),
        ("read 'watts", 'the command "read \'watts" cannot be split into words: No closing quotation'),
        ("/dev/null", "/dev/null is no serial port: Inappropriate ioctl for device"),
        ("/dev/ttyNONE", "/dev/ttyNONE cannot be read: No such file or directory"),
        ("/dev/null@12345", "/dev/null has no speed of 12345 baud"),
        ("echo 12.5", "echo ended with exit status 0; it must print a line per reading for as long as it runs"),
        ("echo volts", "the wall meter says 'volts', not a number of watts"),
        ("echo -3", "the sensor reads -3 W"),
        ("echo 0", "the sensor reads 0 W"),
    ],
)
def test_what_is_wrong_is_said(configured: str | None, reason: str) -> None:
    assert WallMeter(configured).available() == reason


def test_a_meter_that_falls_silent_in_the_window() -> None:
    with WallMeter(_command("say(9)\nsay(10)\nsay(11)\ntime.sleep(60)")).window() as window:
        time.sleep(0.1)

    assert window.energy is None
    assert window.reason is not None
    assert window.reason.endswith("gives no more lines")


def test_a_command_that_dies_in_the_window() -> None:
    with WallMeter(_command("say(9)\ntime.sleep(0.05)\nraise SystemExit(3)")).window() as window:
        time.sleep(0.4)

    assert window.energy is None
    assert window.reason is not None
    assert "ended with exit status 3" in window.reason


def test_a_line_is_a_number_with_or_without_its_unit() -> None:
    assert [watts(line) for line in ("12.5", " 7 W ", "0.25W")] == [12.5, 7.0, 0.25]


def test_the_users_own_meter_is_trusted_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WALL_VARIABLE, STEADY)
    chosen = choose(profile("none", MODEL))

    assert chosen is not None
    assert chosen.name == "wall"


def test_a_wall_meter_that_fails_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(WALL_VARIABLE, "echo volts")
    chosen = choose(profile("none", MODEL))

    assert chosen is not None
    assert chosen.name == "model"
    assert "the wall meter is not used: the wall meter says 'volts', not a number of watts" in caplog.text
