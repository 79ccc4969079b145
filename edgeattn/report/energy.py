"""How to read the energies of a bench document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Facts = Mapping[str, Any]
_COVERS = {
    "module": "the module, without its carrier board",
    "package": "the processor package, without memory and board",
    "gpu": "the GPU, without the rest of the machine",
    "wall": "the whole device at its supply",
    "partial": "some of the board's supplies, so less than the board draws",
}


def notes(bench: Facts) -> Iterator[str]:
    """What the energies cover, over how long they were read, and why some are missing."""
    engines = [(cell, name, engine) for cell in bench["cells"] for name, engine in cell["contestants"].items()]
    scopes = {engine["energy_scope"]: engine["energy_source"] for _, _, engine in engines if engine["energy_scope"]}
    if "model" in scopes:
        yield "energy is an estimate from CPU time and the device's power model, not a measurement"
    for scope, source in scopes.items():
        if scope in _COVERS:
            yield f"energy is gross and covers {_COVERS[scope]} ({source}); other scopes do not compare"
    meter = bench.get("meter")
    if meter and meter["idle_watts"] is not None:
        nets = [engine["energy_net_mj"] for _, _, engine in engines if engine["energy_mj"] is not None]
        idle = f"the {meter['idle_watts']:.3g} W that are drawn with no engine running"
        if any(net is not None for net in nets):
            yield f"net energy leaves out {idle}"
        if None in nets:
            yield f"an engine without net energy drew no more than {idle}: was there another load?"
    if meter and meter["scope"] != "model":
        windows = [engine["energy_window_s"] for _, _, engine in engines if engine.get("energy_window_s")]
        if windows and min(windows) < 0.99 * meter["full_window_s"]:
            yield (
                f"energy was read over {min(windows):.2g} s, which is short: "
                f"a full session takes {meter['full_window_s']:.3g} s"
            )
    reasons = {engine["energy_unavailable"] for _, _, engine in engines if engine.get("energy_unavailable")}
    yield from (f"energy is n/a: {reason}" for reason in sorted(reasons))
    yield from (f"no energy from {name}: {why}" for name, why in (bench.get("meters_passed_over") or {}).items())
