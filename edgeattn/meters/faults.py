"""What goes wrong with a sensor."""

from __future__ import annotations


class SensorError(Exception):
    """A reading that is impossible or missing: the window has no energy."""


class Dropout(SensorError):
    """No reading this time; a later one may come."""
