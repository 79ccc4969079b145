"""`optimum-cli export edgeattn`: registers the command with optimum, which loads every file of this folder.

No file `__init__.py` is here or above: `optimum.commands` is a namespace that packages share (PEP 420). What is heavy,
and what may not be installed, is imported by `run`, so that this file cannot break or slow down `optimum-cli`.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand


class EdgeattnExportCommand(BaseOptimumCLICommand):
    """`edgeattn compile`, in optimum's words."""

    COMMAND = CommandInfo(
        name="edgeattn", help="Export a model with efficient attention to a bundle for an edge device."
    )

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        parser.description = "Makes a bundle from a recipe, as `edgeattn compile` does, which has more options."
        parser.add_argument("--recipe", required=True, help="a .yaml file, or a name that `edgeattn recipes` lists")
        parser.add_argument(
            "--target", action="append", help="a name that `edgeattn devices` lists; again: more of them (default: cpu)"
        )
        parser.add_argument(
            "--host", action="append", help="where the target is: a name of `edgeattn hosts`, local, or none"
        )
        parser.add_argument(
            "output", type=Path, help="folder of the bundle; of several targets or hosts, one in it each"
        )

    def run(self) -> None:
        from edgeattn.cli.main import run

        words = ["compile", self.args.recipe, "--out", str(self.args.output)]
        for option in ("target", "host"):
            for value in getattr(self.args, option) or ():
                words += [f"--{option}", value]
        sys.exit(run(words))


REGISTER_COMMANDS = [(EdgeattnExportCommand, ExportCommand)]
