"""Conditions of a measurement: clocks, temperatures, power mode and throttling, which change from moment to moment.

`Probe(root).read()` gives the conditions now; `disturbance(before, after)` says what happened in between.
"""

from edgeattn.devices.conditions.change import disturbance
from edgeattn.devices.conditions.now import Conditions, Probe
from edgeattn.devices.conditions.thermal import Zone

__all__ = ["Conditions", "Probe", "Zone", "disturbance"]
