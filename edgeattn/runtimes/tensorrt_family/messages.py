"""What TensorRT and Polygraphy say while they work: errors are kept, the rest goes to the worker's output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Enough to tell which node was read last when the parser dies; the worker keeps the end of it.
_VERBOSE, _NORMAL = 0, 20


class Messages(logging.Handler):
    """Collects the errors that Polygraphy and TensorRT log in this process.

    For a worker: the settings of Polygraphy's logger stay.
    """

    def __init__(self) -> None:
        super().__init__()
        from polygraphy.logger import G_LOGGER

        self.errors: list[str] = []
        self._logger = G_LOGGER
        G_LOGGER.colors = G_LOGGER.letter = False
        G_LOGGER.use_python_logging_system = True
        G_LOGGER.module_severity = _NORMAL
        log = logging.getLogger("Polygraphy")
        log.handlers[:], log.propagate = [self], False
        log.setLevel(1)

    @contextmanager
    def in_detail(self) -> Iterator[None]:
        """Inside, each node and layer is logged too."""
        with self._logger.verbosity(_VERBOSE):
            yield

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error, print the rest."""
        text = record.getMessage().strip()
        if record.levelno == logging.ERROR:  # above it are Polygraphy's exceptions
            self.errors.append(text)
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()  # a native crash leaves no time to
