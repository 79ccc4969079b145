"""The command line of the device's side."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeattn.errors import EdgeattnError
from edgeattn.hosts.ssh import lease
from edgeattn.hosts.ssh.device.folders import Document
from edgeattn.hosts.ssh.device.follower import follow
from edgeattn.hosts.ssh.device.supervisor import forget, idle, start, stop
from edgeattn.hosts.ssh.device.workspace import listing, offer, place
from edgeattn.store import disk_errors

COMMANDS: dict[str, Callable[[Document], Document | Iterator[Document]]] = {
    "offer": offer,
    "place": place,
    "start": start,
    "follow": follow,
    "stop": stop,
    "listing": listing,
    "forget": forget,
    "idle": idle,
}


def main(arguments: list[str]) -> int:
    """Run one command; an error is a document too, as in `edgeattn --json`."""
    try:
        with disk_errors(Path.cwd(), "free some space there"):
            found = COMMANDS[arguments[0]](json.loads(sys.stdin.buffer.readline()))
            for document in [found] if isinstance(found, dict) else found:
                _say(document)
    except EdgeattnError as error:
        facts = {"fact": error.fact, "where": error.where, "fix": error.fix, "exit_code": error.exit_code}
        _say({"error": facts, "busy": isinstance(error, lease.Busy)})
        return error.exit_code
    except BrokenPipeError:  # the connection is lost, nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _say(document: Document) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
