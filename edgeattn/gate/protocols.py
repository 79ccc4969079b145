"""How long a gate times each process."""

from __future__ import annotations

from dataclasses import replace

from edgeattn.bench.protocol import Protocol

# Energy is read over the timed blocks of every pair, since each pair needs a value of its own.
FULL = Protocol(energy_s=0.0)
# Many short blocks in turn: they tell two engines apart on a busy machine better than few long ones.
QUICK = Protocol(
    name="quick",
    window_s=0.1,
    agree=0.05,
    warm_min_s=0.3,
    warm_max_s=1.5,
    blocks=4,
    block_s=0.12,
    samples=24,
    measure_max_s=2.0,
    energy_s=0.0,
)
_SENSOR_S = 10.0  # of a window for a slow sensor


def protocol_of(quick: bool, *, sensor: bool) -> Protocol:
    """The protocol of a gate. sensor: energy is measured, which takes longer windows unless `quick`."""
    if quick:
        return QUICK
    return replace(FULL, block_s=_SENSOR_S / FULL.blocks) if sensor else FULL
