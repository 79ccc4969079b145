"""The `edgeattn` command: a table of commands, imported when they are called, and how errors leave it."""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from edgeattn import __version__
from edgeattn.cli.console import Group, plain
from edgeattn.errors import DeviceError, EdgeattnError, ResourceError

# name -> (where the click command is, its line in `edgeattn --help`)
COMMANDS = {
    "compile": ("edgeattn.cli.compile:command", "Make a bundle from a recipe, for a target device."),
    "verify": ("edgeattn.cli.verify:command", "Check a bundle's engine against its teacher."),
    "bench": ("edgeattn.cli.bench:command", "Measure a bundle's efficient and dense engines side by side."),
    "crossover": ("edgeattn.cli.crossover:command", "Measure from which length on each attention pays here."),
    "inspect": ("edgeattn.cli.inspect:command", "List a model's attention layers and what can replace them."),
    "recipes": ("edgeattn.cli.recipes:command", "List, show, check and begin recipes."),
    "devices": ("edgeattn.cli.devices:command", "List and show device profiles."),
    "doctor": ("edgeattn.cli.doctor:command", "Say what this machine has and what it lacks."),
}
_HOST_HALF = (
    "accelerate",
    "datasets",
    "matplotlib",
    "onnx",
    "onnxscript",
    "optimum",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
)
_EXTRAS = {**dict.fromkeys((*_HOST_HALF, "transformers"), "compile"), "onnxruntime": "onnxruntime"}
_INTERRUPTED = 130


class LazyGroup(Group):
    """A group that imports the file of a command only to run it or to show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group("edgeattn", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeattn", message="%(prog)s %(version)s")
def cli() -> None:
    """Efficient attention models for edge devices.

    Give edgeattn a recipe and a device; it returns a bundle that runs there, with the evidence that it is
    faster, smaller or cheaper and still right.

    Begin with `edgeattn recipes`, then `edgeattn compile RECIPE`, `edgeattn verify BUNDLE` and
    `edgeattn bench BUNDLE`.
    """


def main() -> NoReturn:
    """The console entry: runs the command and exits with the code that its result or error stands for."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; an error is printed, never raised."""
    # Looked for here and not in what click parsed: an error may come before click has parsed anything.
    as_json = "--json" in args
    verbose = "-v" in args or "--verbose" in args or os.environ.get("EDGEATTN_DEBUG") == "1"
    try:
        with cli.make_context("edgeattn", list(args) or ["--help"]) as context:
            cli.invoke(context)
        return 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except BrokenPipeError:
        # The reader of stdout, such as `head`, went away. Python would say so once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ResourceError.exit_code
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001  # the last stop: else Python exits with 1
        if verbose:
            click.echo(plain("".join(traceback.format_exception(raised)), lines=True), err=True, nl=False)
        error, code = _explain(raised)
        _report(error, code, as_json)
        return code


def _explain(raised: BaseException) -> tuple[EdgeattnError, int]:
    """What to say of anything that a command raised, and the exit code."""
    if isinstance(raised, EdgeattnError):
        return raised, raised.exit_code
    if isinstance(raised, (KeyboardInterrupt, click.Abort)):
        return EdgeattnError("interrupted", fix="run the same command again to go on"), _INTERRUPTED
    if isinstance(raised, click.ClickException):
        context = getattr(raised, "ctx", None)
        fix = f"see `{context.command_path} --help`" if context else None
        return EdgeattnError(raised.format_message(), fix=fix), raised.exit_code
    error: EdgeattnError | None = None
    if isinstance(raised, MemoryError):
        fix = "use a smaller batch size or length, or a machine with more memory"
        error = ResourceError("out of memory", fix=fix)
    elif isinstance(raised, ModuleNotFoundError):
        error = _not_installed(raised)
    elif isinstance(raised, OSError):
        error = _system_error(raised)
    error = error or _internal(raised)
    return error, error.exit_code


def _report(error: EdgeattnError, code: int, as_json: bool) -> None:
    if as_json:
        document = {"fact": error.fact, "where": error.where, "fix": error.fix, "exit_code": code}
        click.echo(json.dumps({"error": document}, indent=1))
    else:
        click.echo(plain(f"error: {error}", lines=True), err=True)


def _internal(error: BaseException) -> EdgeattnError:
    return EdgeattnError(
        f"internal error: {type(error).__name__}: {error}",
        fix="this is a fault of edgeattn: run again with -v, and send what it prints and the output of "
        "`edgeattn doctor` to the project's issue tracker",
    )


def _not_installed(error: ModuleNotFoundError) -> DeviceError | None:
    name = (error.name or "").partition(".")[0]
    if name not in _EXTRAS:
        return None
    from edgeattn.cli.installed import how_to_install

    return DeviceError(f"{name} is not installed", fix=how_to_install(_EXTRAS[name]))


def _system_error(error: OSError) -> ResourceError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ResourceError(
        error.strerror or str(error),
        where=str(error.filename) if error.filename else None,
        fix="free some space" if full else "check the path and its permissions",
    )
