"""`edgeattn hosts add` and `remove`: what is put on a device, and the sentences for devices that cannot take it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tiny_bundle
from ssh_device import add

from edgeattn import __version__
from edgeattn.cli.main import run
from edgeattn.hosts.ssh.wheel import own_wheel


def python(device, script):
    """A Python of the device that is a shell script; $REAL is this test's own."""
    program = device.folder / "python3"
    program.write_text(f"#!/bin/bash\nREAL={sys.executable}\n{script}\n")
    program.chmod(0o755)
    return "--python", str(program)


def old_python(version):
    """A Python that says that it is an older one."""
    return f'exec "$REAL" -c \'import sys; sys.version_info = {version}; exec(sys.stdin.read())\' "$2"'


def test_the_wheel_is_the_package_whole(tmp_path):
    wheel = own_wheel()
    assert own_wheel().digest == wheel.digest, "the same files give the same bytes"
    (tmp_path / wheel.name).write_bytes(wheel.content)
    with zipfile.ZipFile(tmp_path / wheel.name) as archive:
        names = archive.namelist()
        record = archive.read(f"edgeattn-{__version__}.dist-info/RECORD").decode().splitlines()
    assert {"edgeattn/cli/main.py", "edgeattn/_devices/cpu.yaml", "edgeattn/_recipes/digits-vit.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    assert [line.split(",")[0] for line in record] == names


def test_an_installed_edgeattn_makes_the_same_wheel(device):
    """The device's edgeattn came from the wheel of this checkout."""
    program = "from edgeattn.hosts.ssh.wheel import own_wheel; print(own_wheel().digest)"
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        [device.there / "venv/bin/python", "-c", program],
        cwd=device.there, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == own_wheel().digest


def test_what_is_on_the_device(device):
    assert (device.there.stat().st_mode & 0o777) == 0o700
    record = json.loads((device.there / "install.json").read_text())
    assert record == {"wheel": own_wheel().digest, "python": list(sys.version_info[:3])}
    (installed,) = device.there.glob("venv/lib/python3.*/site-packages/edgeattn/__init__.py")
    assert installed.is_file()


def test_hosts_are_listed_and_kept_in_one_file(device, tmp_path, capsys):
    assert run(["hosts"]) == 0
    assert capsys.readouterr().out == f"board  {device.address}  onnxruntime\n"
    text = (tmp_path / "config/hosts.yaml").read_text()
    (tmp_path / "config/hosts.yaml").write_text(text.replace("port:", "prot:"))
    assert run(["hosts", "list"]) == 2
    assert f"{tmp_path}/config/hosts.yaml:8: hosts.board.address.prot: unknown key" in capsys.readouterr().err


def test_another_edgeattn_on_the_device_is_replaced(device, tiny, capsys):
    """As after an upgrade here: the device has an older build."""
    (module,) = device.there.glob("venv/lib/python3.*/site-packages/edgeattn/hosts/ssh/device/__main__.py")
    module.write_text("raise SystemExit('an old edgeattn')")
    record = json.loads((device.there / "install.json").read_text())
    (device.there / "install.json").write_text(json.dumps({**record, "wheel": "sha256:" + "0" * 64}))
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    assert "board: another edgeattn is installed there: installing this one\n" in capsys.readouterr().err
    assert json.loads((device.there / "install.json").read_text()) == record
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    assert "installing" not in capsys.readouterr().err


def test_an_installation_that_was_damaged_says_so(device, tiny, capsys):
    interpreter = device.there / "venv/bin/python"
    kept = interpreter.readlink()
    interpreter.unlink()
    try:
        assert run(["verify", str(tiny.path), "--host", "board"]) == 4
    finally:
        interpreter.symlink_to(kept)
    err = capsys.readouterr().err
    assert "error: on board: edgeattn does not start: " in err
    assert "edgeattn hosts remove board, then add it\n" in err


def test_remove_cleans_the_device_and_says_so(bare_device, tiny, capsys):
    """The whole life of a host, with a real installation."""
    assert add(bare_device, "board", "--runtime", "onnxruntime") == 0
    assert run(["hosts", "add", "board", bare_device.address]) == 2
    assert "error: board exists already\n" in capsys.readouterr().err
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    assert run(["hosts", "remove", "board"]) == 0
    assert capsys.readouterr().out.endswith("forgot board; removed ~/.cache/edgeattn/hosts there\n")
    assert not bare_device.there.exists()
    assert run(["hosts", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_remove_of_a_device_that_is_gone(device, capsys):
    device.stop()
    try:
        assert run(["hosts", "remove", "board"]) == 4
        assert "cannot be reached" in capsys.readouterr().err
        assert run(["hosts", "remove", "board", "--keep"]) == 0
        assert capsys.readouterr().out == "forgot board; the device was left as it is\n"
    finally:
        device.start()


def test_remove_does_not_pull_the_device_from_under_a_job(device, capsys):
    import fcntl

    lease = device.folder / "lease"
    with lease.open("r+") as file:
        file.truncate(0)
        file.write(json.dumps({"command": ["bench"], "bundle": "tiny", "controller": "ann@desk", "since": 0}))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(["hosts", "remove", "board"]) == 4
    assert "the device is busy: bench of tiny for ann@desk, since " in capsys.readouterr().err
    assert device.there.exists()


# --- devices that cannot take it ----------------------------------------------------------------------------


def refused(device, capsys, options, code, fact, fix):
    arguments = ["--identity", str(device.folder / "key"), "--fingerprint", device.fingerprint()]
    assert run(["hosts", "add", "board", device.address, *arguments, *options]) == code
    err = capsys.readouterr().err
    assert f"error: on board: {fact}" in err
    assert f"  fix: {fix}" in err
    assert run(["hosts", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [], "all or nothing"


def test_a_python_that_is_not_there(bare_device, capsys):
    refused(bare_device, capsys, ["--python", "python3.99"], 4, "python3.99 was not found\n",
            "install Python 3.10 or later, or give the path of one with --python\n")  # fmt: skip


def test_a_python_that_is_too_old(bare_device, capsys):
    options = python(bare_device, old_python((3, 8, 10)))
    refused(bare_device, capsys, options, 4, f"{options[1]} is Python 3.8.10; edgeattn needs 3.10 or later\n",
            "install a later one there")  # fmt: skip


def test_a_python_without_venv(bare_device, capsys):
    """As Debian's, without python3-venv and python3-pip."""
    hide = "import importlib.util as u; u.find_spec = lambda name: name == 'venv' or None"
    options = python(bare_device, f'exec "$REAL" -c "{hide}; import sys; exec(sys.stdin.read())" "$2"')
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    refused(bare_device, capsys, options, 4, f"{options[1]} cannot make virtual environments\n",
            f"on the device: sudo apt install {version}-venv\n")  # fmt: skip


def test_a_python_that_is_none(bare_device, capsys):
    options = python(bare_device, "echo 'Welcome to the board!'")
    refused(bare_device, capsys, options, 4, f"{options[1]} answers what no Python answers: Welcome to the board!\n",
            "give the path of Python 3.10 or later with --python\n")  # fmt: skip


def test_a_folder_that_cannot_be_written(bare_device, capsys):
    options = ["--python", sys.executable, "--folder", "/proc/edgeattn"]
    refused(bare_device, capsys, options, 4, "/proc/edgeattn cannot be written to: ",
            "give a folder that can, with --folder\n")  # fmt: skip


@contextlib.contextmanager
def small_disk(at: Path, size: str):
    at.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at], check=False)
    if mounted.returncode:
        pytest.skip("a file system of a few megabytes cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def test_a_disk_that_is_full(bare_device, capsys):
    with small_disk(bare_device.folder / "small", "1m"):
        options = ["--python", sys.executable, "--folder", str(bare_device.folder / "small/here")]
        refused(bare_device, capsys, options, 5, "its disk is full: ", "free some space there, or give a folder on ")


def test_a_disk_that_fills_up_while_the_bundle_is_sent(device, tiny, capsys):
    small = device.folder / "work"
    with small_disk(small, "40m"):
        (device.there / "work").symlink_to(small)
        (tiny.path / "vocab.txt").write_bytes(bytes(50_000_000))
        document = json.loads((tiny.path / "bundle.json").read_text())
        document["files"]["vocab.txt"] = {}
        (tiny.path / "bundle.json").write_text(json.dumps(document))
        tiny_bundle.sign(tiny.path)
        try:
            assert run(["verify", str(tiny.path), "--host", "board"]) == 5
        finally:
            (device.there / "work").unlink()
    err = capsys.readouterr().err
    assert "the disk is full: 84 MB are needed, " in err
    assert "fix: free some space there\n" in err


def test_no_ssh_server(bare_device, capsys):
    bare_device.stop()
    fix = "check that it is switched on, its address, and that its SSH server runs: on the device, sudo apt install"
    refused(bare_device, capsys, [], 4, f"{bare_device.address} cannot be reached: ", fix)
    bare_device.start()


def test_a_key_that_the_device_does_not_know(bare_device, capsys):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", bare_device.folder / "other"], check=True)
    arguments = ["--identity", str(bare_device.folder / "other"), "--fingerprint", bare_device.fingerprint()]
    assert run(["hosts", "add", "board", bare_device.address, *arguments]) == 4
    err = capsys.readouterr().err
    assert f"error: on board: {bare_device.address} does not let this user in: " in err
    assert f"fix: put your public key there: ssh-copy-id -p {bare_device.port} " in err


def test_a_device_without_a_runtime(bare_device, capsys):
    """It has edgeattn's own dependencies, and reaches no index."""
    bare_device.stop()
    bare_device.environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
    bare_device.start()
    options = ["--python", str(base_without_runtimes(bare_device.folder / "base")), "--runtime", "onnxruntime"]
    refused(bare_device, capsys, options, 4, "no runtime is installed\n",
            "install one there and name its Python with --python")  # fmt: skip


def base_without_runtimes(folder: Path) -> Path:
    """The Python of an environment that has the packages of this one, but no runtime and no edgeattn."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3.*/site-packages")
    for entry in Path(pytest.__file__).parents[1].iterdir():
        if not entry.name.startswith(("onnxruntime", "openvino", "tensorrt", "edgeattn", "_editable", "__pycache__")):
            (site / entry.name).symlink_to(entry)
    return folder / "bin/python"


def test_a_device_without_an_index_gets_every_package_from_here(bare_device, tmp_path, monkeypatch, capsys):
    names = ("click", "Jinja2", "numpy", "packaging", "psutil", "PyYAML", "rich", "onnxruntime")
    wheels = dict.fromkeys(names, "99.0")
    (tmp_path / "index").mkdir()
    for name, version in {**wheels, "pydantic": "2.99"}.items():
        empty_wheel(tmp_path / "index", name, version)
    for variable, value in {
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index"), "PIP_CONFIG_FILE": "/dev/null"
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    bare_device.stop()
    bare_device.environment |= {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": "/dev/null"}
    bare_device.start()
    assert add(bare_device, "board", "--offline", "--runtime", "onnxruntime") == 0
    err = capsys.readouterr().err
    assert "sending onnxruntime-99.0-py3-none-any.whl to board\n" in err
    assert err.count("sending ") == len(wheels) + 1


def empty_wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_a_package_that_cannot_be_downloaded_for_the_device(bare_device, monkeypatch, capsys):
    for variable, value in {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": ""}.items():
        monkeypatch.setenv(variable, value)
    arguments = ["--identity", str(bare_device.folder / "key"), "--fingerprint", bare_device.fingerprint()]
    assert run(["hosts", "add", "b", bare_device.address, *arguments, "--python", sys.executable, "--offline"]) == 4
    err = capsys.readouterr().err
    assert "error: edgeattn's dependencies cannot be downloaded for Python 3." in err
    assert "fix: check that this machine reaches a package index, and has pip\n" in err
