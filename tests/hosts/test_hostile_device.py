"""Devices that are not what they seem: other keys, answers that are none, changed files, names that are options."""

from __future__ import annotations

import json

import pytest
import tiny_bundle
from ssh_device import fake

from edgeattn.cli.main import run
from edgeattn.hosts.known import parse_address


def verify(tiny, *more):
    return run(["verify", str(tiny.path), "--host", "board", *more])


def untouched(tiny):
    return not (tiny.path / "verify.json").exists()


# --- host keys ----------------------------------------------------------------------------------------------


def test_a_changed_host_key_is_refused(bare_device, tiny, capsys):
    pinned = f"edgeattn-board {(bare_device.folder / 'host_key.pub').read_text()}"
    save_without_installing(bare_device, pinned)
    bare_device.stop()
    bare_device.new_host_key()
    bare_device.start()
    assert verify(tiny) == 4
    err = capsys.readouterr().err
    assert f"error: on board: the host key of {bare_device.address} has changed to {bare_device.fingerprint()}" in err
    assert "; nothing was sent\n  fix: if the board was set up anew: edgeattn hosts remove board --keep, " in err
    assert not bare_device.there.exists()


def test_a_host_key_that_is_not_pinned_is_refused(bare_device, tiny, capsys):
    save_without_installing(bare_device, "")
    assert verify(tiny) == 4
    assert f"the host key of {bare_device.address} is not one that was pinned; nothing was sent" in (
        capsys.readouterr().err
    )


def save_without_installing(device, known_hosts):
    from edgeattn.hosts import known

    address = parse_address(device.address)
    host = known.KnownHost(address=address, fingerprint=device.fingerprint(), identity=str(device.folder / "key"))
    known.save("board", host, "")
    known.known_hosts_file().write_text(known_hosts)


def test_add_refuses_another_fingerprint_than_was_given(bare_device, capsys):
    expected = "SHA256:" + "A" * 43
    assert run(["hosts", "add", "board", bare_device.address, "--fingerprint", expected]) == 4
    err = capsys.readouterr().err
    assert f"the host key of {bare_device.address} is {bare_device.fingerprint()}, not {expected}; nothing was" in err
    assert not bare_device.there.exists()
    assert run(["hosts", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_add_does_not_accept_a_key_that_nobody_was_asked_about(bare_device, capsys):
    assert run(["hosts", "add", "board", bare_device.address]) == 4
    err = capsys.readouterr().err
    assert f"is {bare_device.fingerprint()}, and nobody can be asked whether that is right\n  fix: compare it" in err
    assert not bare_device.there.exists()


def test_a_host_that_was_not_added_is_refused(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEATTN_CONFIG", str(tmp_path))
    assert run(["verify", str(tiny.path), "--host", "pi@192.0.2.7"]) == 4
    assert (
        "error: --host: pi@192.0.2.7 was not added yet, so its host key is unknown\n"
        "  fix: edgeattn hosts add NAME pi@192.0.2.7\n"
    ) in capsys.readouterr().err


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "-oProxyCommand=touch${IFS}x@board",
        "pi@-oProxyCommand=x",
        "pi@board;reboot",
        "pi@$(reboot)",
        "pi@board:0",
        "pi@board:99999",
        "pi@board:22x",
        "board",
        "@board",
        "pi@",
        "pi@bo ard",
        "pi@board\n",
        "pi@[fe80::1",
    ],
)
def test_an_address_that_is_none_is_refused(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEATTN_CONFIG", str(tmp_path))
    assert run(["hosts", "add", "board", "--", address]) == 2
    assert "is not the address of a device" in (err := capsys.readouterr().err) or "a port is a number" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "A", "a b", "../x", "local", "a\n", "x" * 65])
def test_a_name_that_is_none_is_refused(name, capsys):
    assert run(["hosts", "add", "--", name, "pi@board"]) == 2
    assert "cannot be the name of a host" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [["--python", "-c"], ["--python", "x;y"], ["--folder", "x"], ["--folder", "/a/../b"]]
)
def test_a_python_or_folder_that_is_none_is_refused(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGEATTN_CONFIG", str(tmp_path))
    assert run(["hosts", "add", "board", "pi@board", *options]) == 2
    assert f"error: {options[0]}: {options[1]!r} is not " in capsys.readouterr().err


def test_good_addresses():
    assert str(parse_address("pi@board")) == "pi@board"
    assert parse_address("pi@board:2222").port == 2222
    assert str(parse_address("pi@[fe80::1%eth0]:23")) == "pi@[fe80::1%eth0]:23"
    assert parse_address("pi@[::1]").device == "::1"


def test_a_bundle_whose_file_has_a_hostile_name_is_not_sent(device, tiny, capsys):
    (tiny.path / "$(touch gotcha).txt").write_text("x")
    document = json.loads((tiny.path / "bundle.json").read_text())
    document["files"]["$(touch gotcha).txt"] = {"sha256": "sha256:" + "0" * 64, "bytes": 1}
    (tiny.path / "bundle.json").write_text(json.dumps(document))
    tiny_bundle.sign(tiny.path)
    assert verify(tiny) == 2
    assert "lists '$(touch gotcha).txt', which is not a name of a bundle's file" in capsys.readouterr().err


# --- answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo hello", "its answer is none of edgeattn's: hello\n"),
        ("true", "its answer is none of edgeattn's: no reason given\n"),
        ("echo '[1]'", "its answer is none of edgeattn's: [1]\n"),
        ("echo '{\"passed\": NaN}'", "its answer is none of edgeattn's: "),
        ('echo \'{"passed": true, "passed": true}\'', "its answer is none of edgeattn's: "),
        ("head -c 100000 /dev/zero | tr '\\0' '['", "its answer is none of edgeattn's: [[["),
        ("head -c 70000000 /dev/zero", "its reply is longer than 67108864 bytes\n"),
    ],
)
def test_a_document_that_is_none_is_refused(device, tiny, capsys, script, said):
    fake(device, script)
    assert verify(tiny) == 4
    err = capsys.readouterr().err
    assert f"error: on board: {said}" in err
    assert len(err) < 1500
    assert untouched(tiny)


def test_escape_sequences_of_a_device_do_not_reach_the_terminal(device, tiny, capsys):
    error = {"fact": "bad \x1b]0;owned\x07 news \x1b[31m", "where": "\x1b[2Jhere", "fix": "\x9b1mx", "exit_code": 4}
    (device.home / "error.json").write_text(json.dumps({"error": error}))
    fake(device, f"printf 'red \\033[31m and \\007 bell\\n' >&2; cat {device.home}/error.json; exit 4")
    assert verify(tiny) == 4
    err = capsys.readouterr().err
    assert "board: red  and  bell\n" in err
    assert "error: on board: here: bad  news \n  fix: 1mx\n" in err
    assert not set(err) & {"\x1b", "\x07", "\x9b"}


def test_a_flood_on_stderr_is_cut(device, tiny, capsys):
    fake(device, 'head -c 1200000 /dev/zero | tr \'\\0\' x >&2; yes | head -c 12000 >&2; exec "$REAL" "$@"')
    assert verify(tiny) == 0
    err = capsys.readouterr().err
    assert "board: further output is left out\n" in err
    assert len(err.splitlines()) < 5_100
    assert max(map(len, err.splitlines())) < 600


@pytest.mark.parametrize("code", [0, 255, -1, 99])
def test_an_error_with_a_code_of_its_own_is_a_tool_failure(device, tiny, capsys, code):
    fake(device, f'echo \'{{"error": {{"fact": "odd", "where": null, "fix": null, "exit_code": {code}}}}}\'')
    assert verify(tiny) == 5
    assert "error: on board: odd\n" in capsys.readouterr().err


# --- files --------------------------------------------------------------------------------------------------

TAMPER = '"$REAL" "$@"; code=$?; cd "$2"; {}; exit $code'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("echo x >> model.onnx", "model.onnx was changed or removed there, and this job changes only reports\n"),
        ("rm engine/efficient/engine.json", "engine/efficient/engine.json was changed or removed there, and this"),
        ("echo x > new.so", "new.so was changed or removed there, and this job changes only reports\n"),
        ("echo x > 'a b'", "lists 'a b', which is not a name of a bundle's file\n"),
        ("echo no-json > verify.json", "verify.json is not JSON: "),
        ("truncate -s 1100M verify.json", "would send 9 files, 11534"),
    ],
)
@pytest.mark.slow
def test_a_file_that_the_device_changed_is_refused(device, tiny, capsys, change, said):
    fake(device, TAMPER.format(change))
    before = sorted((path, path.stat().st_mtime_ns) for path in tiny.path.rglob("*"))
    assert verify(tiny) == 2
    assert f"error: on board: {said}" in capsys.readouterr().err
    assert sorted((path, path.stat().st_mtime_ns) for path in tiny.path.rglob("*")) == before


def test_evidence_that_cannot_be_shown_is_refused(device, tiny, capsys):
    fake(device, TAMPER.format('echo "{}" > verify.json'))
    assert verify(tiny) == 2
    assert "cannot be shown" in capsys.readouterr().err


def test_a_report_from_the_device_is_not_taken(device, tiny):
    fake(device, TAMPER.format("echo '<script>' > report.html"))
    assert verify(tiny) == 0
    assert "<script>" not in (tiny.path / "report.html").read_text()


def test_a_file_that_is_changed_on_its_way_is_refused(device, tiny, capsys, monkeypatch):
    """The device's list is right, and another file arrives."""
    from edgeattn.hosts.ssh import returning

    def fetch(connection, remote, to, digest, size):
        (file,) = device.there.glob(remote)
        file.write_bytes(bytes(size))
        return real(connection, remote, to, digest, size)

    real = returning.fetch
    monkeypatch.setattr(returning, "fetch", fetch)
    assert verify(tiny) == 5
    assert "/bundle/verify.json was changed on its way: its digest is sha256:" in capsys.readouterr().err
    assert untouched(tiny)


def test_a_partial_file_is_continued_and_a_wrong_one_sent_again(device, tiny, capsys):
    incoming = device.there / "incoming"
    incoming.mkdir(exist_ok=True)
    whole = (tiny.path / "model.onnx").read_bytes()
    digest = tiny.manifest.files["model.onnx"].sha256.removeprefix("sha256:")
    (incoming / f"{digest}.part").write_bytes(whole[:100])
    wrong = tiny.manifest.files["dense.onnx"].sha256.removeprefix("sha256:")
    (incoming / f"{wrong}.part").write_bytes(b"something else")
    assert verify(tiny) == 0
    assert "board: sending 1 files, " in capsys.readouterr().err, "the one whose beginning was wrong, again"
