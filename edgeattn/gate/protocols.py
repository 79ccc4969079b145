"""How long a gate times each process."""

from __future__ import annotations

from dataclasses import replace

from edgeattn.bench.protocol import Protocol
from edgeattn.meters import Meter, full_window_s

# Energy is read over the timed blocks of every pair, since each pair needs a value of its own. A p99 is advisory, so
# nothing is timed for longer to have one.
FULL = Protocol(p99_s=0.0, energy_s=0.0)
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
    p99_s=0.0,
    energy_s=0.0,
)


def protocol_of(quick: bool, meter: Meter | None) -> Protocol:
    """The protocol of a gate. A sensor takes longer blocks, which make up a full window, unless `quick`."""
    if quick:
        return QUICK
    if meter is None or meter.scope == "model":
        return FULL
    return replace(FULL, block_s=full_window_s(meter) / FULL.blocks)
