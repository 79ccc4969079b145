"""This machine as a host, and jobs as command lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_bundle

from edgeattn import __version__
from edgeattn.cli.main import cli, run
from edgeattn.devices import board_facts, fingerprint, load_device
from edgeattn.hosts import HOSTS, open_host
from edgeattn.hosts.base import HostFacts
from edgeattn.jobs import Bench, Measure, Verify
from edgeattn.progress import Progress
from edgeattn.runtimes import RUNTIMES


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (Measure(), ()),
        (Verify(), ()),
        (Verify(threads=2), ("--threads", "2")),
        (Bench(), ()),
        (Bench((128, 512), 6, 4, True), ("--lengths", "128,512", "--pairs", "6", "--threads", "4", "--quick")),
        (Bench(scenario="server", rate=2.5), ("--scenario", "server", "--rate", "2.5")),
        (Bench(scenario="offline", batch_size=4), ("--scenario", "offline", "--batch-size", "4")),
    ],
)
def test_a_job_is_a_command_line(job, line):
    assert job.arguments() == line
    command = cli.get_command(None, job.name)
    parsed = command.make_context(job.name, ["bundle", *line, "--json"]).params
    assert {name: parsed[name] for name in vars(job)} == vars(job)


def test_a_job_runs_here(tmp_path, capsys):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    document = open_host(None).run(Verify(threads=1), bundle.path, Progress())
    assert document["passed"] is True
    assert json.loads((bundle.path / "verify.json").read_text()) == document
    assert "Verified" in (bundle.path / "report.html").read_text()


@pytest.mark.parametrize("text", [None, "local"])
def test_the_facts_of_this_machine(text):
    facts = open_host(text).probe()
    assert facts.edgeattn == __version__
    assert facts.fingerprint == fingerprint()
    assert facts.profile == load_device("cpu")
    assert facts.runtimes["onnxruntime"] == RUNTIMES["onnxruntime"].version()
    assert facts.free_bytes > 0
    assert facts.board == board_facts(Path("/"))
    assert HostFacts.model_validate_json(facts.model_dump_json()) == facts


def test_the_facts_of_a_jetson(monkeypatch, capsys):
    tree = Path(__file__).parents[1] / "devices/trees/orin-nano-8gb"
    monkeypatch.setenv("EDGEATTN_ROOT", str(tree))
    facts = open_host(None).probe()
    assert (facts.architecture, facts.board.module, facts.profile.cpu.cores) == ("aarch64", "p3767-0005", 6)
    assert facts.fingerprint == fingerprint(tree) | {"usable_cores": facts.fingerprint["usable_cores"]}
    assert run(["hosts", "probe"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "device jetson-orin-nano-8gb: Jetson Orin Nano 8 GB, module or Developer Kit." in lines
    assert "L4T 36.4.0 (JetPack 6.1 to 6.2.2)" in lines


def test_every_kind_of_host_can_be_imported():
    assert all(hasattr(HOSTS[kind], "run") and hasattr(HOSTS[kind], "probe") for kind in HOSTS)
