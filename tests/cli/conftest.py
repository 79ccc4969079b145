from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command sets up logging for its process; a test gives it back as it was."""
    monkeypatch.delenv("EDGEATTN_DEBUG", raising=False)
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logger.level for name, logger in _loggers()}
    yield
    root.handlers[:] = handlers
    for name, logger in _loggers():
        logger.setLevel(levels.get(name, logging.NOTSET))


def _loggers() -> list[tuple[str, logging.Logger]]:
    known = logging.Logger.manager.loggerDict.items()
    return [(name, logger) for name, logger in known if isinstance(logger, logging.Logger)]
