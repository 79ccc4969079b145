from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import edgeattn
from edgeattn.cli import main as main_module
from edgeattn.cli.console import common_options, emit, plain
from edgeattn.cli.main import COMMANDS, cli, run
from edgeattn.errors import BundleError, DeviceError, VerificationError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgeattn.__file__).parents[1])}
HEAVY = {"torch", "transformers", "onnxruntime", "onnx", "datasets", "scipy", "sklearn", "numpy", "optimum"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=ENVIRONMENT)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `edgeattn doctor` a command that raises the given exception."""

    def install(error: BaseException) -> None:
        @click.command("doctor")
        @common_options
        def command(as_json: bool) -> None:
            raise error

        monkeypatch.setattr(sys.modules[__name__], "failing", command, raising=False)
        monkeypatch.setitem(main_module.COMMANDS, "doctor", (f"{__name__}:failing", "Fails."))

    return install


# --- help ---------------------------------------------------------------------------------------------------


def test_help_lists_every_command_and_imports_none() -> None:
    code = (
        "import sys; from edgeattn.cli.main import run; code = run(['--help']);"
        "light = ['', '.errors', '.cli', '.cli.main', '.cli.console', '.plaintext'];"
        "print([name for name in sys.modules if name in ('pydantic', 'yaml', 'numpy', 'rich')"
        " or name.startswith('edgeattn') and name[8:] not in light], file=sys.stderr); sys.exit(code)"
    )
    done = python(code)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    for name, (_, line) in COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert line in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys; from edgeattn.cli.main import run; code = run([sys.argv[1], '--help']);"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    ).replace("sys.argv[1]", repr(name))
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert f"Usage: edgeattn {name}" in done.stdout
    for option in ("--json", "-v, --verbose"):
        assert option in done.stdout


def test_python_dash_m_and_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeattn", "--version"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert (done.returncode, done.stdout) == (0, f"edgeattn {edgeattn.__version__}\n")


def test_nothing_asked_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage: edgeattn" in capsys.readouterr().out


# --- errors -------------------------------------------------------------------------------------------------


def test_an_unknown_command_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["benhc"]) == 2
    assert "error: unknown command 'benhc'\n  fix: did you mean 'bench'?" in capsys.readouterr().err


def test_an_unknown_command_of_a_group_is_shown_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "digits-vit"]) == 2
    assert capsys.readouterr().err == (
        "error: edgeattn recipes: unknown command 'digits-vit'\n"
        "  fix: known: check, new, schema, show; to show one: `edgeattn recipes show NAME`\n"
    )


def test_a_wrong_option_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", "--loud"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: No such option")  # click's own words, which differ by version
    assert err.endswith("\n  fix: see `edgeattn recipes --help`\n")


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (VerificationError("cosine 0.5 is under 0.97"), 1, "error: cosine 0.5 is under 0.97"),
        (BundleError("digest differs", where="model.onnx"), 2, "error: model.onnx: digest differs"),
        (DeviceError("no GPU", fix="use --target cpu"), 4, "error: no GPU\n  fix: use --target cpu"),
        (MemoryError(), 5, "error: out of memory\n  fix: use a smaller batch size"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 5, "error: /x: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 5, "error: /x: Permission denied"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 4,
         "error: torch is not installed\n  fix: pip install 'edgeattn[compile]'"),
        (ModuleNotFoundError("No module named 'packaging'", name="packaging"), 4,
         "error: packaging is not installed\n  fix: pip install --upgrade edgeattn"),
        (ModuleNotFoundError("No module named 'x'", name="x"), 5, "internal error: ModuleNotFoundError"),
        (ValueError("surprise"), 5, "error: internal error: ValueError: surprise\n  fix: this is a bug"),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code(
    fails: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    sentence: str,
) -> None:
    fails(error)
    assert run(["doctor"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


def test_an_error_is_one_json_document(
    fails: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fails(BundleError("digest differs", where="model.onnx", fix="copy it again"))
    assert run(["doctor", "--json"]) == 2
    out, err = capsys.readouterr()
    document = {"fact": "digest differs", "where": "model.onnx", "fix": "copy it again", "exit_code": 2}
    assert json.loads(out) == {"error": document}
    assert err == ""
    assert run(["doctor", "--json", "--loud"]) == 2
    assert "--loud" in json.loads(capsys.readouterr().out)["error"]["fact"]


def test_a_traceback_only_when_asked(
    fails: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails(ValueError("surprise"))
    for arguments in (["doctor", "-v"], ["-v", "doctor"], ["--verbose", "doctor"]):
        assert run(arguments) == 5
        assert "Traceback (most recent call last)" in capsys.readouterr().err
    monkeypatch.setenv("EDGEATTN_DEBUG", "1")
    assert run(["doctor"]) == 5
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_closed_pipe_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "edgeattn", "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        env=ENVIRONMENT,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def into(device: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with only its stdout redirected to a device."""
    with Path(device).open("w") as out:
        return subprocess.run(
            [sys.executable, "-m", "edgeattn", *arguments],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=ENVIRONMENT,
        )


@pytest.mark.parametrize("arguments", [["doctor"], ["--json", "doctor"], ["recipes", "show", "digits-vit"]])
def test_a_result_that_cannot_be_written_is_an_error_of_one_line(arguments: list[str]) -> None:
    """A full disk is not exit code 1, which means that verification failed."""
    done = into("/dev/full", *arguments)
    assert done.returncode == 5
    assert done.stderr == (
        "error: stdout: the result cannot be written: No space left on device\n"
        "  fix: free some space, or send the output elsewhere\n"
    )


def test_an_error_that_cannot_be_written_as_json_goes_to_stderr_with_its_own_code() -> None:
    done = into("/dev/full", "verify", "/nowhere", "--json")
    assert done.returncode == 2
    assert done.stderr.startswith("error: /nowhere/bundle.json: cannot be read as a bundle")


@pytest.mark.parametrize("arguments", [["--json", "recipes", "show", "digits-vit"],
                                       ["recipes", "--json", "show", "digits-vit"],
                                       ["recipes", "show", "digits-vit", "--json"]])  # fmt: skip
def test_json_may_stand_anywhere(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "digits-vit"


def test_an_error_cannot_steer_the_terminal(
    fails: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fails(BundleError("name is \x1b[2Jgone\x07", where="a\x9bm"))
    run(["doctor", "-v"])
    err = capsys.readouterr().err
    assert "error: am: name is gone\n" in err
    assert not {"\x1b", "\x07", "\x9b"} & set(err)


# --- console ------------------------------------------------------------------------------------------------


def test_plain_leaves_only_what_can_be_read() -> None:
    assert plain("\x1b[31mred\x1b[0m \x1b]0;title\x07text\x9b2J\r\x00") == "red text2J"
    assert plain("right\u202eleft") == "rightleft"
    assert plain("naïve 日本 🙂\tend") == "naïve 日本 🙂\tend"
    assert plain("one\ntwo") == "one two"
    assert plain("one\ntwo", lines=True) == "one\ntwo"


def test_emit_prints_json_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": 1}, True, lambda: click.echo("text"))
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    emit({"a": 1}, False, lambda: click.echo("text"))
    assert capsys.readouterr().out == "text\n"


def test_logs_go_to_stderr_and_libraries_are_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command("doctor")
    @common_options
    def talks(as_json: bool) -> None:
        logging.getLogger("edgeattn").info("waiting for another process")
        logging.getLogger("edgeattn").debug("a detail")
        logging.getLogger("urllib3.pool").warning("chatter")  # one that leaves handlers alone, unlike transformers
        logging.getLogger().warning("advice")
        warnings.warn("deprecated", UserWarning, stacklevel=1)
        emit([], as_json, lambda: None)

    monkeypatch.setitem(cli.commands, "doctor", talks)
    monkeypatch.setattr(sys.modules[__name__], "talking", talks, raising=False)
    monkeypatch.setitem(main_module.COMMANDS, "doctor", (f"{__name__}:talking", "Talks."))
    assert run(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert err == "waiting for another process\n"
    assert run(["doctor", "--verbose"]) == 0
    err = capsys.readouterr().err
    assert "edgeattn: a detail" in err
    assert "chatter" in err
    assert "advice" in err
