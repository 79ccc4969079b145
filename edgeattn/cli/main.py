"""The `edgeattn` command: a table of commands, imported when they are called, and the handling of errors."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn, TextIO

import click

from edgeattn import __version__
from edgeattn.cli.console import Group, json_option, set_up_logging, verbose_option
from edgeattn.errors import DeviceError, EdgeattnError, ResourceError
from edgeattn.plaintext import plain

# name -> (where the click command is, its line in `edgeattn --help`)
COMMANDS = {
    "compile": ("edgeattn.cli.compile:command", "Make a bundle from a recipe, for a target device."),
    "build": ("edgeattn.cli.build:command", "Build a bundle's engines on the device that it is for."),
    "verify": ("edgeattn.cli.verify:command", "Check a bundle's engine against its teacher."),
    "bench": ("edgeattn.cli.bench:command", "Measure a bundle's efficient and dense engines side by side."),
    "report": ("edgeattn.cli.report:command", "Make a bundle's report again, or one of several side by side."),
    "gate": ("edgeattn.cli.gate:command", "Say whether a bundle is worse than a baseline."),
    "baseline": ("edgeattn.cli.baseline:command", "Save, show and verify the baselines of gate."),
    "history": ("edgeattn.cli.history:command", "List what benches have measured, and where it changed."),
    "crossover": ("edgeattn.cli.crossover:command", "Measure the length from which each attention pays here."),
    "measure": ("edgeattn.cli.measure:command", "Time the graphs that crossover has exported, on this machine."),
    "estimate": ("edgeattn.cli.estimate:command", "Predict what a recipe gains, or a bundle takes, on a device."),
    "check": ("edgeattn.cli.check:command", "Say whether a device's TensorRT takes a graph, and why not."),
    "inspect": ("edgeattn.cli.inspect:command", "List a model's attention layers and what can replace them."),
    "recipes": ("edgeattn.cli.recipes:command", "List, show, check and create recipes."),
    "devices": ("edgeattn.cli.devices:command", "List and show device profiles."),
    "hosts": ("edgeattn.cli.hosts:command", "Add, list, probe and remove the devices that jobs run on."),
    "doctor": ("edgeattn.cli.doctor:command", "Say what this machine has and what it lacks."),
}
_HOST_HALF = (
    "accelerate",
    "datasets",
    "nncf",
    "onnx",
    "onnxscript",
    "optimum",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
)
_DEVICE_HALF = ("jinja2", "numpy", "packaging", "psutil", "pydantic", "rich", "yaml")
_EXTRAS: dict[str, str | None] = {
    **dict.fromkeys(_DEVICE_HALF),
    **dict.fromkeys((*_HOST_HALF, "transformers"), "compile"),
    "matplotlib": "report",
}
_INTERRUPTED = 128 + signal.SIGINT
_CLOSED_PIPE = 128 + signal.SIGPIPE  # 141, what a shell reports for any program whose reader went away


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
@functools.partial(json_option, expose=False)
@verbose_option
def cli() -> None:
    """Efficient attention models for edge devices.

    Give edgeattn a recipe and a device; it returns a bundle that runs there, with the evidence that it is
    faster, smaller or cheaper and still right.

    Start with `edgeattn recipes`, then `edgeattn compile RECIPE`, `edgeattn verify BUNDLE` and
    `edgeattn bench BUNDLE`.
    """


def main() -> NoReturn:
    """The console entry: runs the command and exits with the code of its result or error."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; an error is printed, never raised."""
    # Searched here and not in click's result: an error may come before click has parsed anything.
    as_json = "--json" in args
    verbose = "-v" in args or "--verbose" in args
    set_up_logging(verbose)
    try:
        code = _invoke(args)
        sys.stdout.flush()  # a full disk is an error of this command, not of Python's own flush at exit
        return code
    except BrokenPipeError:  # the reader of the output, such as `head`, has stopped reading
        _discard(sys.stdout)
        _discard(sys.stderr)
        return _CLOSED_PIPE
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001  # the last stop: else Python exits with 1
        error, code = _explain(raised)
        trace = traceback.format_exception(raised) if verbose or os.environ.get("EDGEATTN_DEBUG") == "1" else []
        _report(error, code, as_json, "".join(trace))
        return code


def _invoke(args: Sequence[str]) -> int:
    try:
        with cli.make_context("edgeattn", list(args) or ["--help"]) as context:
            cli.invoke(context)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    return 0


def _discard(stream: TextIO) -> None:
    """Discard what a stream still holds and all later output: Python flushes it once more at exit."""
    with contextlib.suppress(OSError):  # a stream without a descriptor of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _explain(raised: BaseException) -> tuple[EdgeattnError, int]:
    """The error to print for anything that a command raised, and the exit code."""
    if isinstance(raised, EdgeattnError):
        return raised, raised.exit_code
    if isinstance(raised, (KeyboardInterrupt, click.Abort)):
        return EdgeattnError("interrupted", fix="run the same command again to continue"), _INTERRUPTED
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


def _report(error: EdgeattnError, code: int, as_json: bool, trace: str) -> None:
    """Print an error: as JSON on stdout, else on stderr, and there too where stdout takes nothing."""
    document = {"fact": error.fact, "where": error.where, "fix": error.fix, "exit_code": code}
    try:
        click.echo(plain(trace, lines=True), err=True, nl=False)
        if as_json:
            try:
                click.echo(json.dumps({"error": document}, indent=1))
                return
            except OSError:
                _discard(sys.stdout)
        click.echo(plain(f"error: {error}", lines=True), err=True)
    except OSError:  # stderr is closed too: only the exit code is left
        _discard(sys.stderr)


def _internal(error: BaseException) -> EdgeattnError:
    return EdgeattnError(
        f"internal error: {type(error).__name__}: {error}",
        fix="this is a bug in edgeattn: run again with -v, and report that output and the output of "
        "`edgeattn doctor` in the project's issue tracker",
    )


def _not_installed(error: ModuleNotFoundError) -> DeviceError | None:
    from edgeattn.cli.installed import how_to_install

    name = (error.name or "").partition(".")[0]
    if name in _EXTRAS:
        return DeviceError(f"{name} is not installed", fix=how_to_install(_EXTRAS[name]))
    from edgeattn.runtimes import RUNTIMES  # needs a package of _EXTRAS

    return DeviceError(f"{name} is not installed", fix=how_to_install(name)) if name in RUNTIMES else None


def _system_error(error: OSError) -> ResourceError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ResourceError(
        error.strerror or str(error),
        where=str(error.filename) if error.filename else None,
        fix="free some space" if full else "check the path and its permissions",
    )
