"""Conditions of a measurement: what changes from moment to moment on a machine, and what of it makes timings wrong.

`Probe(root).read()` gives the conditions now; `disturbance(before, after)` says what happened in between.
"""

from edgeattn.devices.conditions.change import disturbance
from edgeattn.devices.conditions.now import Conditions, Probe
from edgeattn.devices.conditions.thermal import Zone

__all__ = ["Conditions", "Probe", "Zone", "disturbance"]
