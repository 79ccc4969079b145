"""Lost connections, stopped commands, killed controllers, restarts, and two jobs on one device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import tiny_bundle
from ssh_device import fake

from edgeattn.cli.main import run

SLOW = 'echo begun >&2; for i in 1 2 3 4; do sleep 0.5; echo "still $i" >&2; done; exec "$REAL" "$@"'
ENDLESS = "echo begun >&2; sleep 1000 & wait"


def controller(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process of its own, as Ctrl-C needs it; ended after a minute and a half."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeattn", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        # A shell starts its background jobs with SIGINT ignored, which children inherit, these tests among them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = threading.Timer(90, process.kill)
    limit.daemon = True
    limit.start()
    return process


def wait_for(what, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return found


def begun(device):
    """Wait until the job runs and is followed."""
    wait_for(lambda: [file for file in device.state("follower") if file.read_text()])
    return wait_for(lambda: [file for file in device.state("stderr") if "begun" in file.read_text()])


def job_pid(device) -> int:
    (file,) = wait_for(lambda: device.state("pid.json"))
    return json.loads(file.read_text())["pid"]


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_killed_connection_resumes(device, tiny, side):
    fake(device, SLOW)
    process = controller("verify", str(tiny.path), "--host", "board")
    wait_for(lambda: "still 1" in begun(device)[0].read_text())
    if side == "server":
        device.drop_connections()
    else:
        control = f"edgeattn-ssh-{process.pid}-"
        for each in psutil.process_iter(["name", "cmdline"]):
            if each.info["name"] == "ssh" and any(control in word for word in each.info["cmdline"] or ()):
                each.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "was lost" in err or "was closed" in err
    assert "board: the connection is back\n" in err
    assert [line for line in err.splitlines() if "still" in line] == [f"board: still {i}" for i in range(1, 5)]
    assert out.splitlines()[-1] == "passed"
    assert (tiny.path / "verify.json").exists()


def test_a_server_that_is_away_for_a_while(device, tiny):
    fake(device, SLOW)
    process = controller("verify", str(tiny.path), "--host", "board")
    begun(device)
    device.stop()
    time.sleep(1)
    device.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "cannot be reached" in err or "the connection is back" in err


def test_ctrl_c_ends_the_processes_there_and_frees_the_device(device, tiny, capsys):
    fake(device, ENDLESS)
    process = controller("verify", str(tiny.path), "--host", "board")
    begun(device)
    there = psutil.Process(job_pid(device))
    wait_for(there.children)
    family = [there, *there.children(recursive=True)]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "board: ending the job there\n" in err
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert not device.state("job.json")
    fake(device, 'exec "$REAL" "$@"')
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0, "the lease is free"


def test_ctrl_c_ends_the_job_on_several_hosts(device, tiny):
    fake(device, ENDLESS)
    process = controller("verify", str(tiny.path), "--host", "local", "--host", "board")
    begun(device)
    there = psutil.Process(job_pid(device))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "board: ending the job there\n" in err
    assert not psutil.wait_procs([there], timeout=5)[1]


def test_a_second_job_is_told_who_has_the_device_since_when(device, tiny, tmp_path, capsys):
    other = tiny_bundle.make(tmp_path / "other", name="other")
    fake(device, f'echo begun >&2; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; exec "$REAL" "$@"')
    first = controller("verify", str(other.path), "--host", "board")
    begun(device)
    assert run(["verify", str(tiny.path), "--host", "board"]) == 4
    err = capsys.readouterr().err
    assert "error: on board: the device is busy: verify of other for " in err
    assert " by its clock (0 min)\n  fix: wait for it with --wait, or try later\n" in err
    second = controller("verify", str(tiny.path), "--host", "board", "--wait")
    assert any(" by its clock (0 min); waiting\n" in line for line in second.stderr)
    (tmp_path / "go").touch()
    assert [process.wait(60) for process in (first, second)] == [0, 0]


def test_the_same_command_beside_itself_is_refused(device, tiny, capsys):
    fake(device, SLOW)
    process = controller("verify", str(tiny.path), "--host", "board")
    begun(device)
    assert run(["verify", str(tiny.path), "--host", "board"]) == 4
    assert "the same verify of tiny is already running for " in capsys.readouterr().err
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_whose_controller_was_killed_is_taken_over(device, tiny, capsys, ended):
    fake(device, SLOW)
    process = controller("verify", str(tiny.path), "--host", "board")
    begun(device)
    pid = job_pid(device)
    process.kill()
    process.wait()
    assert psutil.pid_exists(pid), "the job goes on"
    if ended:
        wait_for(lambda: device.state("exit.json"))
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0
    err = capsys.readouterr().err
    assert "board: this very job is already there: following it\n" in err
    assert "board: still 4\n" in err
    assert (tiny.path / "verify.json").exists()


def test_a_restart_in_between_is_said_and_the_next_run_starts_anew(device, tiny, capsys):
    fake(device, ENDLESS)
    process = controller("verify", str(tiny.path), "--host", "board")
    begun(device)
    pid = job_pid(device)
    device.stop()
    (file,) = device.state("job.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot_id": "of an earlier start"}))
    supervisor = psutil.Process(pid).parent()
    supervisor.kill()
    os.killpg(pid, signal.SIGKILL)
    device.start()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert "error: on board: the device was restarted while the job was running\n" in err
    assert not (tiny.path / "verify.json").exists()
    fake(device, 'exec "$REAL" "$@"')
    assert run(["verify", str(tiny.path), "--host", "board"]) == 0


def test_a_supervisor_that_was_killed_is_said(device, tiny):
    fake(device, ENDLESS)
    process = controller("verify", str(tiny.path), "--host", "board")
    begun(device)
    pid = job_pid(device)
    psutil.Process(pid).parent().kill()
    os.killpg(pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "error: on board: the job's process was killed while the job was running\n" in err
