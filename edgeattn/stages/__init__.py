"""The bodies of the stages of `edgeattn.pipeline`: each reads its inputs, calls its room, writes its files.

A body gets a `Job`: its parts of the recipe, the folders of its inputs, and `out`, which it fills. It returns facts
about what it made, small enough for JSON, with a `note` for the terminal.
"""

from edgeattn.stages.check import check
from edgeattn.stages.export import export
from edgeattn.stages.learn import data, data_files, distil, student, teacher, teacher_files
from edgeattn.stages.preflight import preflight, preflight_files
from edgeattn.stages.quantize import quantize
from edgeattn.stages.ship import NAMED_LIBRARIES, assemble, bench, build, built_engines, record, verify

__all__ = [
    "NAMED_LIBRARIES",
    "assemble",
    "bench",
    "build",
    "built_engines",
    "check",
    "data",
    "data_files",
    "distil",
    "export",
    "preflight",
    "preflight_files",
    "quantize",
    "record",
    "student",
    "teacher",
    "teacher_files",
    "verify",
]
