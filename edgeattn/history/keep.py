"""Keeping a bench in the history, whatever state the file is in: a bench never fails because of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.bench.conditions import invalid_because
from edgeattn.bench.scenarios import DEFAULT
from edgeattn.bundle import Bundle
from edgeattn.errors import EdgeattnError
from edgeattn.history.file import append, file_here
from edgeattn.history.measurement import measurements
from edgeattn.plaintext import plain

LOG = logging.getLogger("edgeattn")


def keep(document: Mapping[str, Any], bundles: Sequence[Bundle]) -> None:
    """Append a bench document to the history of this machine; what prevents that is a warning.

    Only one of single requests: the latencies of other scenarios would break its series.
    """
    file = file_here()
    if file is None:
        return
    try:
        if document.get("scenario", DEFAULT) != DEFAULT:
            return
        if (why := invalid_because(document)) is not None:
            LOG.warning("the bench is not in the history, its session is invalid: %s", plain(why)[:300])
            return
        append(file, measurements(document, bundles))
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # a document of a device, which may hold anything
        LOG.warning("the bench is not in the history: its document cannot be read: %s", plain(repr(error))[:300])
    except EdgeattnError as error:
        LOG.warning("the bench is not in the history: %s", plain(str(error), lines=True))
