"""The bodies of the stages of `edgeattn.pipeline`: each reads its inputs' files, calls its room, writes its own files.

Every stage gets plain folders: those of its inputs, read-only, and `out`, which it fills. It returns facts of what it
made, small enough for JSON, with a `note` for the terminal.
"""

from edgeattn.stages.learn import data, distil, student, teacher, teacher_digest
from edgeattn.stages.lower import build, export
from edgeattn.stages.ship import assemble, bench, record, verify
from edgeattn.stages.target import lowering

__all__ = [
    "assemble",
    "bench",
    "build",
    "data",
    "distil",
    "export",
    "lowering",
    "record",
    "student",
    "teacher",
    "teacher_digest",
    "verify",
]
