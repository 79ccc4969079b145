"""The `edgeattn` command with timings of milliseconds; nothing else is changed.

python hasty.py compile digits.yaml
"""

from __future__ import annotations

from edgeattn.bench import compare
from edgeattn.bench.protocol import Protocol
from edgeattn.cli.main import main

QUICK = Protocol(
    name="quick",
    window_s=0.02,
    agree=0.5,
    warm_min_s=0.05,
    warm_max_s=0.3,
    blocks=2,
    block_s=0.02,
    samples=16,
    measure_max_s=0.3,
    p99_s=0.0,
    energy_s=0.1,
    feeds=4,
)

if __name__ == "__main__":
    Protocol.quick = classmethod(lambda cls: QUICK)  # type: ignore[method-assign, assignment]
    assert compare.quick_compare.__kwdefaults__ is not None
    compare.quick_compare.__kwdefaults__.update(rounds=2, block_s=0.02, warm_s=0.02)
    assert compare.fastest.__kwdefaults__ is not None
    compare.fastest.__kwdefaults__.update(rounds=2, block_s=0.02)
    main()
