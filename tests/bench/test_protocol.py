"""The estimated duration of a session, and what its document says of it."""

from __future__ import annotations

import pytest

from edgeattn.bench.protocol import Protocol


def test_a_quick_session_of_two_lengths_and_six_pairs_takes_a_minute() -> None:
    least, most = Protocol.quick().seconds(lengths=2, pairs=6)
    assert least < 50
    assert most < 120
    assert Protocol().seconds(lengths=2, pairs=6)[1] > 30 * 60


def test_the_full_protocol_warms_up_and_measures_energy_for_seconds() -> None:
    full = Protocol()
    assert (full.window_s, full.agree, full.warm_min_s, full.warm_max_s) == (1.0, 0.01, 3.0, 60.0)
    assert full.facts()["energy"].startswith(
        "a window of 10 s, longer for a slow sensor, per contestant and length; idle"
    )
    assert Protocol.quick().facts()["energy"] == "over the timed blocks, no idle baseline"


def test_a_slow_meter_makes_the_session_longer_and_none_makes_it_shorter() -> None:
    full, windows = Protocol(), 2 * 2 + 1  # two contestants at two lengths, and the idle baseline
    least, most = full.seconds(2, 6)
    assert full.seconds(2, 6, slowness=10.0) == pytest.approx((least + windows * 90, most + windows * 90))
    assert full.seconds(2, 6, slowness=0.0) == pytest.approx((least - windows * 10, most - windows * 10))
    assert Protocol.quick().seconds(2, 6, slowness=10.0) == Protocol.quick().seconds(2, 6)
