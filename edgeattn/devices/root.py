"""Where the facts about this machine are read."""

from __future__ import annotations

import os
from pathlib import Path

from edgeattn.errors import InputError

VARIABLE = "EDGEATTN_ROOT"


def system_root() -> Path:
    """The folder that has the /proc, /sys, /etc and /var of this machine: $EDGEATTN_ROOT, else /.

    In a container it is where the machine's own root is mounted, for what the container hides. Raises InputError for
    what is no folder.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return Path("/")
    root = Path(named)
    if not root.is_dir():
        raise InputError(f"{named!r} is not a folder", where=VARIABLE, fix="give the folder that has proc/ and sys/")
    return root
