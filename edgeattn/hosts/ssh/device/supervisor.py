"""Runs a job apart from the connection that asked for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from edgeattn.hosts.boot import boot_id
from edgeattn.hosts.ssh import lease
from edgeattn.hosts.ssh.device.folders import Document, bundle_folder, job_folder
from edgeattn.hosts.ssh.device.state import state_of
from edgeattn.store import write_json

_GRACE_S = 10.0


def start(request: Document) -> Document:
    """Start the job, apart from this connection. request: {workspace, job, command: [...], bundle, controller}."""
    deadline = time.monotonic() + 1  # a job that was just stopped still holds it
    while (held := lease.take()) is None:
        if time.monotonic() > deadline:
            raise lease.busy(lease.holder() or {})
        time.sleep(0.05)
    with contextlib.closing(os.fdopen(held, "r+")) as file:
        folder = job_folder(request["job"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        facts = {**request, "since": time.time(), "boot_id": boot_id()}
        write_json(folder / "job.json", facts)
        file.truncate(0)
        file.write(json.dumps({key: facts[key] for key in ("workspace", "command", "bundle", "controller", "since")}))
        file.flush()
        _detach(lambda: _supervise(folder, facts, file.fileno()))
        deadline = time.monotonic() + _GRACE_S
        while not (folder / "alive").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    return {"boot_id": facts["boot_id"]}


def stop(request: Document) -> Document:
    """End the job and all of its processes: first by Ctrl-C's signal, so that it can tidy up."""
    folder = job_folder(request["job"])
    for sent, patience_s in ((signal.SIGINT, _GRACE_S), (signal.SIGTERM, _GRACE_S / 2), (signal.SIGKILL, _GRACE_S)):
        if state_of(folder) != "running":
            break
        _signal(folder, sent)
        deadline = time.monotonic() + patience_s
        while state_of(folder) == "running" and time.monotonic() < deadline:
            time.sleep(0.05)
    running = state_of(folder) == "running"
    if not running:
        shutil.rmtree(folder, ignore_errors=True)
    return {"stopped": not running}


def forget(request: Document) -> Document:
    """Remove a job whose result was taken."""
    shutil.rmtree(job_folder(request["job"]), ignore_errors=True)
    return {}


def idle(_request: Document) -> Document:
    """Raises DeviceError where a job is running."""
    if (holder := lease.holder()) is not None:
        raise lease.busy(holder)
    return {}


def _supervise(folder: Path, facts: Document, held: int) -> None:
    """Run the job to its end and write its exit code. held: the lease. A lock of its own says that it lives."""
    alive = os.open(folder / "alive.new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(alive, fcntl.LOCK_EX)
    (folder / "alive.new").rename(folder / "alive")
    name, *arguments = facts["command"]
    bundle = bundle_folder(facts).absolute()
    command = [str(Path("venv/bin/edgeattn").absolute()), name, str(bundle), *arguments, "--json"]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        try:
            job = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                env={**os.environ, "EDGEATTN_CACHE": str(Path("store").absolute())},
                start_new_session=True,
                pass_fds=(held,),
            )
        except OSError as error:
            stderr.write(f"cannot start {command[0]}: {error.strerror}\n".encode())
            code = 127
        else:
            write_json(folder / "pid.json", {"pid": job.pid})
            code = job.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
    write_json(folder / "exit.json", {"code": code})


def _detach(work: Callable[[], None]) -> None:
    """Call `work` in a process of its own session, whose parent is not waited for."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            work()
    finally:
        os._exit(0)


def _signal(folder: Path, number: signal.Signals) -> None:
    import psutil

    with contextlib.suppress(OSError, ValueError, ProcessLookupError, psutil.NoSuchProcess):
        pid = json.loads((folder / "pid.json").read_text())["pid"]
        below = psutil.Process(pid).children(recursive=True) if number == signal.SIGKILL else []
        os.killpg(pid, number)
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
