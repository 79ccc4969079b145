"""Which energy a gate judges: the scope that the baseline was saved with, by whatever meter measures it here."""

from __future__ import annotations

from edgeattn.devices import DeviceProfile
from edgeattn.gate.baseline import Saved
from edgeattn.gate.document import Row
from edgeattn.gate.session import ENERGY
from edgeattn.meters import METERS, Choice

ESTIMATE = "model"  # the scope of what no sensor measured
_PART = "partial"  # the scope of some rails: those of another meter are others


def vanished(saved: Saved | None, chosen: Choice, profile: DeviceProfile) -> Row | None:
    """FAIL where the baseline was saved with a sensor of another scope than the meter here; None where all is well.

    chosen: the meter of this gate. profile: of the device, for a baseline of before scopes were saved.
    """
    if saved is None or saved.energy is None:
        return None
    scope = saved.energy_scope or (METERS[saved.energy](profile).scope if saved.energy in METERS else None)
    if scope == ESTIMATE:
        return None
    meter, before = chosen.meter, f"{scope or 'unknown'} (meter {saved.energy})"
    if meter is None or meter.scope == ESTIMATE:
        reason = chosen.passed_over.get(saved.energy)
        why = f"the baseline was saved with energy of the scope {before}; here no sensor measures it"
        return _row(f"{why}: {reason}" if reason else why)
    if meter.scope != scope or (scope == _PART and meter.name != saved.energy):
        here = f"{meter.scope} (meter {meter.name})"
        return _row(f"the baseline was saved with energy of the scope {before}, here it is {here}: not comparable")
    return None


def notes(saved: Saved | None, chosen: Choice) -> list[str]:
    """What a reader should know of an energy that did not vanish."""
    meter = chosen.meter
    if saved is None or meter is None or meter.scope != saved.energy_scope or meter.name == saved.energy:
        return []
    return [f"energy is measured by {meter.name}; the baseline was saved with {saved.energy}, of the same scope"]


def _row(why: str) -> Row:
    return Row(metric=ENERGY, kind="vanished", blocking=True, verdict="FAIL", why=why)
