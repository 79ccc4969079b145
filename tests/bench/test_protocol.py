"""The estimated duration of a session."""

from __future__ import annotations

from edgeattn.bench.protocol import Protocol


def test_a_quick_session_of_two_lengths_and_six_pairs_takes_minutes() -> None:
    """Measured: two and a half."""
    least, most = Protocol.quick().seconds(lengths=2, pairs=6)
    assert (least, most) == (92.0, 284.0)
    assert Protocol().seconds(lengths=2, pairs=6)[1] > 30 * 60
