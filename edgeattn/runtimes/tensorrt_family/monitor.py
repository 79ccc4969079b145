"""Hands on what TensorRT's builder says of its progress."""

from __future__ import annotations

import threading
import time
from typing import Any

from edgeattn._worker_child import report
from edgeattn.runtimes.tensorrt_family.library import Library

_SAY_EVERY_S = 1.0


def monitor_of(library: Library) -> Any:
    """A progress monitor that tells this worker's parent; None where TensorRT has none: before 10.0."""
    trt = library.module()
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        """Called from several threads of the builder. Phases lie within one another; each is counted by itself."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}
            self._said, self._lock = time.monotonic(), threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                due = time.monotonic() - self._said >= _SAY_EVERY_S
                if due:
                    self._said = time.monotonic()
            if due:
                report(step + 1, self._steps.get(phase_name, step + 1), phase_name)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
