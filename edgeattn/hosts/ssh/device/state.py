"""The state of a job, as its files say it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from edgeattn.hosts.boot import boot_id
from edgeattn.hosts.ssh import lease

_KEEP_RESULT_S = 3600


def state_of(folder: Path) -> str:
    """Of the job in `folder`: running, ended, stale (ended long ago), restarted, killed, or none."""
    try:
        facts = json.loads((folder / "job.json").read_text())
        alive = lease.is_locked(folder / "alive")
        ended = (folder / "exit.json").is_file()  # read after `alive`: it is written before that lock is released
    except (OSError, ValueError):
        return "none"
    if ended:
        fresh = time.time() - (folder / "exit.json").stat().st_mtime < _KEEP_RESULT_S
        return "ended" if fresh or lease.is_locked(folder / "follower") else "stale"
    if facts["boot_id"] != boot_id():
        return "restarted"
    return "running" if alive else "killed"
