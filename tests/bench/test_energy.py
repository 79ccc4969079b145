"""Energy in a bench session, with a meter of known power."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from edgeattn.bench import bundles
from edgeattn.bench.measured import InCase
from edgeattn.meters import Choice, Energy, Scope, Window


class KnownMeter:
    """Reads 3 W in its first window, which is the idle one of a full session, and 8 W in all others."""

    name = "known"
    scope: Scope = "module"

    def __init__(self, period_s: float = 0.01, *, fails_after: int | None = None, reason: str = "") -> None:
        self.period_s = period_s
        self.windows_s: list[float] = []
        self._fails_after = fails_after
        self._reason = reason

    def available(self) -> str | None:
        return None

    @contextmanager
    def window(self, pids: Sequence[int] | None = None) -> Iterator[Window]:
        window = Window()
        start = time.monotonic()
        yield window
        seconds = time.monotonic() - start
        watts = 8.0 if self.windows_s else 3.0
        self.windows_s.append(seconds)
        if self._fails_after is not None and len(self.windows_s) > self._fails_after:
            window.reason = self._reason
        else:
            window.energy = Energy(watts * seconds, seconds, self.scope, "a test")


@pytest.fixture
def measured(tiny, hasty, monkeypatch):
    """Runs a session with a meter; returns its document."""

    def run(meter: KnownMeter, passed_over: dict[str, str] | None = None, **protocol: Any) -> dict[str, Any]:
        monkeypatch.setattr(bundles, "choose_with_reasons", lambda profile: Choice(meter, passed_over or {}))
        return bundles.bench([tiny], lengths=[8], pairs=2, protocol=replace(hasty, **protocol))

    return run


def test_gross_and_net_energy_with_their_window_and_scope(measured) -> None:
    meter = KnownMeter()
    document = measured(meter, energy_s=0.1)

    assert document["meter"] == {
        "name": "known",
        "scope": "module",
        "period_s": 0.01,
        "full_window_s": 10.0,
        "idle_watts": pytest.approx(3.0),
    }
    assert len(meter.windows_s) == 3  # idle, then one for each engine: in the first pair only
    for engine in document["cells"][0]["contestants"].values():
        assert engine["watts"] == pytest.approx(8.0)
        assert engine["energy_net_mj"] / engine["energy_mj"] == pytest.approx(5 / 8)
        assert 0.1 <= engine["energy_window_s"] < 1.0
        assert (engine["energy_scope"], engine["energy_source"]) == ("module", "a test")
        assert engine["energy_unavailable"] is None


def test_a_slow_sensor_makes_all_windows_longer(measured) -> None:
    meter = KnownMeter(period_s=0.4)
    document = measured(meter, energy_s=0.1)

    assert document["meter"]["full_window_s"] == 40.0
    assert min(meter.windows_s) >= 0.4


def test_a_quick_session_has_no_idle_baseline(measured) -> None:
    document = measured(KnownMeter(), energy_s=0.0)

    assert document["meter"]["idle_watts"] is None
    for engine in document["cells"][0]["contestants"].values():
        assert engine["energy_mj"] > 0
        assert engine["energy_net_mj"] is None


def test_a_sensor_that_fails_has_no_energy_and_the_reason(measured, caplog) -> None:
    meter = KnownMeter(fails_after=1, reason="the sensor is stuck: 7 W for 5 s")
    document = measured(meter, energy_s=0.1)

    for engine in document["cells"][0]["contestants"].values():
        assert [engine[key] for key in ("energy_mj", "energy_net_mj", "energy_scope", "watts")] == [None] * 4
        assert engine["energy_unavailable"] == "the sensor is stuck: 7 W for 5 s"
    assert "no energy: the sensor is stuck: 7 W for 5 s" in caplog.text


def test_a_sensor_that_failed_is_not_asked_again_in_that_case(measured) -> None:
    meter = KnownMeter(fails_after=0, reason="absent")
    measured(meter, energy_s=0.0)

    assert len(meter.windows_s) == 2  # of one block for each engine, not of four


def test_why_a_better_meter_is_not_used_is_in_the_document(measured) -> None:
    document = measured(KnownMeter(), passed_over={"rapl": "only root may"}, energy_s=0.0)

    assert document["meters_passed_over"] == {"rapl": "only root may"}


def test_net_energy_below_nothing_is_unknown() -> None:
    case = InCase([[1_000_000]], [True], joules=4.0, energy_s=2.0, inferences=100)
    case.energy = {"scope": "module", "source": "a test"}

    assert case.facts(idle_watts=1.5)["energy_net_mj"] == pytest.approx(10.0)
    assert case.facts(idle_watts=2.5)["energy_net_mj"] is None
