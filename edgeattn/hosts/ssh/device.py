"""The device's side of the ssh host: `python -m edgeattn.hosts.ssh.device COMMAND`, with edgeattn's folder as its cwd.

A command reads one JSON document on stdin and writes one on stdout; `follow` writes one per line. The folder holds

    venv/  wheels/  install.json           the device half
    incoming/<digest>.part                 files on their way here
    work/<workspace>/bundle/               one bundle of one controller, kept for the next job on it
    store/                                 what edgeattn keeps there, such as built engines
    jobs/<id>/{job.json, stderr, stdout, exit.json, alive, follower}

A job runs apart from the connection, under a supervisor that holds the device's lease and writes the exit code. It goes
on when the connection is lost. When the controller dies it goes on too: the same command takes it over, or takes its
result within an hour.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeattn.errors import DeviceError, EdgeattnError, InputError, ResourceError
from edgeattn.hosts.boot import boot_id
from edgeattn.hosts.ssh import lease
from edgeattn.store import disk_errors, sha256_file, write_json

BUNDLE = "bundle"
_ID = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LOST = "the job's process was killed"
_RESTARTED = "the device was restarted"

_KEEP_WORKSPACE_S = 14 * 24 * 3600
_KEEP_RESULT_S = 3600
_ROOM_BYTES = 32 * 1024 * 1024  # beside the bundle's files, for the job's own
_POLL_S = 0.5
_BEAT_S = 5.0
_SILENT_S = 30.0  # a controller that sends nothing for this long has lost the connection
_LINE_CHARACTERS = 4096
_GRACE_S = 10.0

Document = dict[str, Any]


def offer(request: Document) -> Document:
    """Make the workspace ready for the bundle's files, and say which are missing.

    request: {workspace, job, files: {path: [digest, bytes]}}. Returns {running: True} where this very job runs, or has
    ended and nobody has taken its result; else {missing: {digest: bytes of it that are here}}.
    """
    if _state(_job_folder(request["job"])) in ("running", "ended"):
        return {"running": True}
    holder = lease.holder()
    if holder is not None and holder.get("workspace") == request["workspace"]:
        raise lease.busy(holder)
    _forget_old()
    bundle, files = _bundle(request), request["files"]
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.utime(bundle.parent)
    for name, found in _listing(bundle).items():
        if files.get(name) != found:
            (bundle / name).unlink()
    missing = {digest: size for name, (digest, size) in files.items() if not (bundle / name).is_file()}
    incoming = Path("incoming")
    incoming.mkdir(exist_ok=True)
    for part in incoming.iterdir():
        if part.stem not in {digest.removeprefix("sha256:") for digest in missing}:
            part.unlink()
    here = {digest: _here(_part(digest), size) for digest, size in missing.items()}
    needed, free = sum(missing.values()) - sum(here.values()) + _ROOM_BYTES, shutil.disk_usage(bundle).free
    if needed > free:
        raise ResourceError(
            f"the disk is full: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free",
            where=str(bundle),
            fix="free some space there",
        )
    return {"missing": here}


def place(request: Document) -> Document:
    """Put the files that have arrived in place. Returns {damaged: [digests]}, which must be sent again."""
    bundle, damaged = _bundle(request), set()
    absent: dict[str, list[Path]] = {}
    for name, (digest, _) in request["files"].items():
        if not (bundle / name).is_file():
            absent.setdefault(digest, []).append(bundle / name)
    for digest, (first, *others) in absent.items():
        part = _part(digest)
        if not part.is_file() or sha256_file(part) != digest:
            part.unlink(missing_ok=True)
            damaged.add(digest)
            continue
        for target in (*others, first):
            target.parent.mkdir(parents=True, exist_ok=True)
        for target in others:
            arriving = target.with_name(f".{target.name}.tmp")
            shutil.copyfile(part, arriving)
            arriving.replace(target)
        part.replace(first)
    return {"damaged": sorted(damaged)}


def start(request: Document) -> Document:
    """Start the job, apart from this connection. request: {workspace, job, command: [...], bundle, controller}."""
    deadline = time.monotonic() + 1  # a job that was just stopped still holds it
    while (held := lease.take()) is None:
        if time.monotonic() > deadline:
            raise lease.busy(lease.holder() or {})
        time.sleep(0.05)
    with contextlib.closing(os.fdopen(held, "r+")) as file:
        folder = _job_folder(request["job"])
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


def follow(request: Document) -> Iterator[Document]:
    """What the job writes to stderr from byte `offset` on, as {line, offset}; at last {ended: code} or {lost: why}.

    Sends {beat} every few seconds; ends when the controller sends nothing for long, or closes stdin. request: {job,
    offset, token}; a connection with the same token takes the place of an older one.
    """
    folder = _job_folder(request["job"])
    if not (folder / "job.json").is_file():
        yield {"lost": _LOST}
        return
    with _only_follower(folder, request["token"]):
        offset, heard, said = request["offset"], time.monotonic(), 0.0
        while True:
            state = _state(folder)
            for line, after in _lines(folder / "stderr", offset, whole=state == "running"):
                yield {"line": line, "offset": after}
                offset = after
                said = time.monotonic()
            if state != "running":
                break
            if time.monotonic() - said > _BEAT_S:
                yield {"beat": True}
                said = time.monotonic()
            if select.select([sys.stdin], [], [], _POLL_S)[0]:
                if not os.read(sys.stdin.fileno(), 4096):
                    return
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENT_S:
                return
        if state == "ended":
            yield {"ended": json.loads((folder / "exit.json").read_text())["code"]}
        else:
            yield {"lost": _RESTARTED if state == "restarted" else _LOST}


def stop(request: Document) -> Document:
    """End the job and all of its processes: first by Ctrl-C's signal, so that it can tidy up."""
    folder = _job_folder(request["job"])
    for sent, patience_s in ((signal.SIGINT, _GRACE_S), (signal.SIGTERM, _GRACE_S / 2), (signal.SIGKILL, _GRACE_S)):
        if _state(folder) != "running":
            break
        _signal(folder, sent)
        deadline = time.monotonic() + patience_s
        while _state(folder) == "running" and time.monotonic() < deadline:
            time.sleep(0.05)
    running = _state(folder) == "running"
    if not running:
        shutil.rmtree(folder, ignore_errors=True)
    return {"stopped": not running}


def listing(request: Document) -> Document:
    """The bundle's files: {files: {path: [digest, bytes]}}."""
    return {"files": _listing(_bundle(request))}


def forget(request: Document) -> Document:
    """Remove a job whose result was taken."""
    shutil.rmtree(_job_folder(request["job"]), ignore_errors=True)
    return {}


def idle(_request: Document) -> Document:
    """Raises DeviceError where a job is running."""
    if (holder := lease.holder()) is not None:
        raise lease.busy(holder)
    return {}


COMMANDS: dict[str, Callable[[Document], Document | Iterator[Document]]] = {
    "offer": offer,
    "place": place,
    "start": start,
    "follow": follow,
    "stop": stop,
    "listing": listing,
    "forget": forget,
    "idle": idle,
}


def main(arguments: list[str]) -> int:
    """Run one command; an error is a document too, as in `edgeattn --json`."""
    try:
        with disk_errors(Path.cwd(), "free some space there"):
            found = COMMANDS[arguments[0]](json.loads(sys.stdin.buffer.readline()))
            for document in [found] if isinstance(found, dict) else found:
                _say(document)
    except EdgeattnError as error:
        facts = {"fact": error.fact, "where": error.where, "fix": error.fix, "exit_code": error.exit_code}
        _say({"error": facts, "busy": isinstance(error, lease.Busy)})
        return error.exit_code
    except BrokenPipeError:  # the connection is lost, nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _say(document: Document) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def _supervise(folder: Path, facts: Document, held: int) -> None:
    """Run the job to its end and write its exit code. held: the lease. A lock of its own says that it lives."""
    alive = os.open(folder / "alive.new", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(alive, fcntl.LOCK_EX)
    (folder / "alive.new").rename(folder / "alive")
    name, *arguments = facts["command"]
    bundle = _bundle(facts).absolute()
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


def _state(folder: Path) -> str:
    """Of the job in `folder`: running, ended, stale (ended long ago), restarted, killed, or none."""
    try:
        facts = json.loads((folder / "job.json").read_text())
        alive = lease.is_locked(folder / "alive")
        ended = (folder / "exit.json").is_file()  # read after `alive`: it is written before that lock is released
    except (OSError, ValueError):
        return "none"
    if ended:
        fresh = time.time() - (folder / "exit.json").stat().st_mtime < _KEEP_RESULT_S
        return "ended" if fresh or lease.is_locked(folder / "follower") else "stale"
    if facts["boot_id"] != boot_id():
        return "restarted"
    return "running" if alive else "killed"


def _signal(folder: Path, number: signal.Signals) -> None:
    import psutil

    with contextlib.suppress(OSError, ValueError, ProcessLookupError, psutil.NoSuchProcess):
        pid = json.loads((folder / "pid.json").read_text())["pid"]
        below = psutil.Process(pid).children(recursive=True) if number == signal.SIGKILL else []
        os.killpg(pid, number)
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _lines(file: Path, offset: int, *, whole: bool) -> Iterator[tuple[str, int]]:
    """The lines of a file from `offset` on, each with the offset after it; the last one too unless `whole`."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        stream.seek(offset)
        while chunk := stream.readline(_LINE_CHARACTERS):
            if whole and not chunk.endswith(b"\n") and len(chunk) < _LINE_CHARACTERS:
                return
            offset += len(chunk)
            yield chunk.decode(errors="replace").rstrip("\n"), offset


@contextlib.contextmanager
def _only_follower(folder: Path, token: str) -> Iterator[None]:
    """Hold the lock of the job's follower; an older connection of the same controller gives way."""
    fd = os.open(folder / "follower", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(100):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            other, _, pid = os.pread(fd, 100, 0).decode().partition(" ")
            if other != token:
                job = json.loads((folder / "job.json").read_text())
                raise DeviceError(
                    f"the same {job['command'][0]} of {job['bundle']} is already running for {job['controller']}",
                    fix="wait for it, or stop the other command",
                )
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
            time.sleep(0.05)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{token} {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(fd)


def _forget_old() -> None:
    """Remove workspaces that were not used for long, and jobs that are no more."""
    for jobs in Path("jobs").glob("*"):
        if _state(jobs) not in ("running", "ended"):
            shutil.rmtree(jobs, ignore_errors=True)
    for workspace in Path("work").glob("*"):
        if time.time() - workspace.stat().st_mtime > _KEEP_WORKSPACE_S:
            shutil.rmtree(workspace, ignore_errors=True)


def _listing(bundle: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for folder, _, names in os.walk(bundle):
        for name in names:
            file = Path(folder, name)
            if file.is_file() and not file.is_symlink():
                found[file.relative_to(bundle).as_posix()] = [sha256_file(file), file.stat().st_size]
    return found


def _here(part: Path, size: int) -> int:
    """Bytes of a file that have arrived; a part that cannot be its beginning is removed."""
    if not part.is_file():
        return 0
    if part.stat().st_size > size:
        part.unlink()
        return 0
    return part.stat().st_size


def _part(digest: str) -> Path:
    if not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is not a digest")
    return Path("incoming", digest.removeprefix("sha256:") + ".part")


def _bundle(request: Document) -> Path:
    return Path("work", _identifier(request["workspace"]), BUNDLE)


def _job_folder(job: str) -> Path:
    return Path("jobs", _identifier(job))


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise InputError(f"{text!r} is not an identifier")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
