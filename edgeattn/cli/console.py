"""What all commands share: groups, `--json`, `--verbose`, logging, and text that is safe to show."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from edgeattn.errors import InputError, ResourceError
from edgeattn.plaintext import plain

F = TypeVar("F", bound=Callable[..., Any])
_JSON = "edgeattn.json"

# Libraries that log much that a user of edgeattn can do nothing about.
_CHATTY = (
    "accelerate",
    "datasets",
    "filelock",
    "fsspec",
    "httpcore",
    "httpx",
    "huggingface_hub",
    "onnx_ir",
    "onnxruntime",
    "onnxscript",
    "optimum",
    "torch",
    "transformers",
    "urllib3",
)
_QUIET_ENVIRONMENT = {
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TORCH_LOGS": "-onnx",  # torch writes its logs to stderr by itself
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Group(click.Group):
    """A group of commands that answers a wrong name with the right ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args[0] not in names:
            from edgeattn.registry import did_you_mean

            fix = did_you_mean(args[0], names)
            if "show" in names:  # many users try `edgeattn recipes NAME` first
                fix = f"{fix}; to show one: `{ctx.command_path} show NAME`"
            raise InputError(f"unknown command {args[0]!r}", where=ctx.command_path if ctx.parent else None, fix=fix)
        return super().resolve_command(ctx, args)


def emit(document: Any, as_json: bool, human: Callable[[], None]) -> None:
    """The result of a command on stdout: `document` as JSON, or what `human` prints.

    Raises ResourceError where stdout cannot be written, such as a file on a full disk.
    """
    try:
        if as_json:
            click.echo(json.dumps(document, indent=1, allow_nan=False))
        else:
            human()
        sys.stdout.flush()
    except OSError as error:
        # `run` handles a closed pipe; an error with a file's name comes from a file that `human` reads.
        if isinstance(error, BrokenPipeError) or error.filename is not None:
            raise
        raise ResourceError(
            f"the result cannot be written: {error.strerror}",
            where="stdout",
            fix="free some space, or send the output elsewhere",
        ) from error


def list_described(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one line per row: its name and its description."""
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(plain(f"{row['name']:<{width}}  {row['description']}"))


def lengths_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """The callback of `--lengths`: lengths, such as 128,512."""
    if value is None:
        return None
    try:
        found = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 128,512") from None
    if min(found) < 1 or max(found) > 1_000_000:
        raise click.BadParameter("a length is a number from 1 to 1000000")
    return found


def json_option(command: F, *, expose: bool = True) -> F:
    """`--json`, handed to the command as `as_json`, whether it stands before or after the command's name."""

    def given(context: click.Context, _parameter: click.Parameter, here: bool) -> bool:
        context.meta[_JSON] = here or context.meta.get(_JSON, False)  # groups share `meta` with their commands
        return bool(context.meta[_JSON])

    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        expose_value=expose,
        callback=given,
        help="Print one JSON document on stdout.",
    )(command)


def verbose_option(command: F) -> F:
    """`-v`, `--verbose`: only declared here, because `run` sets up logging before click parses anything."""
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        help="Print debug messages, and the traceback of an error, on stderr.",
    )(command)


def common_options(command: F) -> F:
    """`--json` and `--verbose`, which every command has."""
    return json_option(verbose_option(command))


class _ToStderr(logging.Handler):
    """Writes to the current sys.stderr, which a progress bar or a test may replace."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(plain(self.format(record), lines=True), err=True)


def set_up_logging(verbose: bool) -> None:
    """Sends logs to stderr: ours from INFO, other libraries' errors; everything if `verbose`."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _ToStderr)]:
        root.removeHandler(handler)
    handler = _ToStderr()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s" if verbose else "%(message)s"))
    if not verbose:  # the root logger itself, which ONNX Runtime's quantization logs its advice to
        handler.addFilter(lambda record: record.name != "root" or record.levelno >= logging.ERROR)
    root.addHandler(handler)
    logging.getLogger("edgeattn").setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.ERROR)
    if not verbose:
        warnings.filterwarnings("ignore")
        for variable, value in _QUIET_ENVIRONMENT.items():  # read by those libraries when they are imported
            os.environ.setdefault(variable, value)
