"""Joules estimated from CPU time and a power model, for machines whose sensor is missing or not readable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psutil

from edgeattn.devices import DeviceProfile, PowerModel
from edgeattn.meters.base import Energy, Scope, Window


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU seconds, user and system, that `pids` and all their descendants have used so far.

    Descendants that have ended count too: the kernel adds their time to their parent's. Raises psutil.Error if one
    of `pids` is gone.
    """
    tree: dict[int, psutil.Process] = {}
    for pid in pids:
        process = psutil.Process(pid)
        tree |= {each.pid: each for each in (process, *process.children(recursive=True))}
    total = 0.0
    for pid, process in tree.items():
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and both of ended children
        except psutil.NoSuchProcess:
            if pid in pids:
                raise
            # a descendant that ended since it was listed: its parent has its time
    return total


class PowerModelMeter:
    """watts_per_core x CPU seconds + idle_watts x seconds: an estimate, of scope `model`."""

    name = "model"
    scope: Scope = "model"
    period_s = 0.01  # the kernel counts CPU time in such steps

    def __init__(
        self, power_model: PowerModel | None, *, cpu_seconds: Callable[[Sequence[int]], float] = cpu_seconds
    ) -> None:
        self._power_model = power_model
        self._cpu_seconds = cpu_seconds

    def available(self) -> str | None:
        """None, or the reason: the profile has no power model."""
        return None if self._power_model else "the device profile has no power model for this processor"

    @contextmanager
    def window(self, pids: Sequence[int] | None = None) -> Iterator[Window]:
        """Estimates the energy of `pids` and their descendants while the context is open.

        Windows of less than a second are coarse: see `period_s`.
        """
        window = Window(reason=self.available())
        meant = [os.getpid()] if pids is None else list(pids)
        before = None
        if self._power_model:
            start_ns = time.monotonic_ns()
            try:
                before = self._cpu_seconds(meant)
            except psutil.Error as cause:
                window.reason = f"CPU time unknown: {cause}"
        yield window
        if self._power_model is None or before is None:
            return
        try:
            busy_s = self._cpu_seconds(meant) - before
        except psutil.Error as cause:
            window.reason = f"CPU time unknown: {cause}"
            return
        seconds = (time.monotonic_ns() - start_ns) / 1e9
        joules = self._power_model.watts_per_core * busy_s + (self._power_model.idle_watts or 0.0) * seconds
        if busy_s < 0 or joules <= 0:
            window.reason = f"{busy_s:.2f} s of CPU time seen in a window of {seconds:.2f} s"
            return
        window.energy = Energy(joules, seconds, scope=self.scope, source=f"estimate: {self._power_model.source}")


def meter(profile: DeviceProfile) -> PowerModelMeter:
    """The meter of the profile's power model."""
    return PowerModelMeter(profile.energy.power_model)
