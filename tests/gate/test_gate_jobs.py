"""The gate as a job: both bundles in one folder, and one command line on the device."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn.cli.main import cli, run
from edgeattn.errors import BundleError, DeviceError
from edgeattn.gate.baseline import open_baseline, save
from edgeattn.gate.document import received
from edgeattn.gate.run import Options
from edgeattn.gate.shipment import Shipment, ship
from edgeattn.jobs import Calibrate, Gate


@pytest.fixture
def shipment(tiny, tmp_path):
    baseline = save(tiny, tmp_path / "baseline", note="main")
    return ship(tiny_bundle.make(tmp_path / "new"), baseline, tmp_path / "shipment")


def test_a_job_is_a_command_line():
    options = Options(0.02, 0.08, True, (16, 32), 2, frozenset({"p50", "disk"}), 100.0, 0.1)
    line = Gate(options).arguments()
    parsed = cli.get_command(None, "gate").make_context("gate", ["folder", *line, "--json"]).params
    assert parsed["ignore"] == pytest.approx(2)
    assert parsed["catch"] == pytest.approx(8)
    assert parsed["extra_work"] == pytest.approx(10)
    assert (parsed["quick"], parsed["lengths"], parsed["threads"]) == (True, (16, 32), 2)
    assert (set(parsed["advisory"]), parsed["memory_limit"]) == ({"p50", "disk"}, 100.0)
    assert Gate(Options()).arguments() == ()
    assert Calibrate(quick=True).arguments() == ("--calibrate", "--quick")


def test_a_shipment_holds_both_with_their_digests(shipment):
    found = Shipment.open(shipment.path)
    assert found.baseline.saved.note == "main"
    assert {name.partition("/")[0] for name in found.files()} == {"candidate", "baseline", "shipment.json"}
    assert "baseline/bundle/model.onnx" in found.files()


def test_a_plain_bundle_is_shipped_too(tiny, tmp_path):
    found = ship(tiny, open_baseline(tiny.path), tmp_path / "shipment")
    assert found.baseline.saved is None
    assert "baseline/model.onnx" in found.files()


def test_what_was_changed_on_its_way_is_refused(shipment):
    file = shipment.path / "baseline" / "baseline.json"
    text = file.read_text().replace("main", "evil")
    file.unlink()  # it is a link to the baseline's own
    file.write_text(text)
    with pytest.raises(BundleError, match=r"baseline\.json: was changed: its digest is"):
        Shipment.open(shipment.path)


def test_the_device_types_one_command(shipment, given_pairs, same, tmp_path, capsys):
    given_pairs(same)
    assert run(["gate", str(shipment.path), "--quick", "--threads", "1", "--json"]) == 0
    document = received(json.loads(capsys.readouterr().out), "board")
    assert document.verdict == "PASS"
    here = document.seen_from("new", "base", ["--quick", "--host", "board"])
    assert (here.candidate.path, here.baseline.path) == ("new", "base")
    assert here.reproduce == "edgeattn gate new --baseline base --quick --host board"


def test_an_answer_that_contradicts_itself_is_refused(shipment, given_pairs, same, capsys):
    given_pairs(same)
    run(["gate", str(shipment.path), "--quick", "--json"])
    document = json.loads(capsys.readouterr().out)
    document["rows"][0]["verdict"] = "FAIL"
    with pytest.raises(DeviceError, match="verdict and exit_code do not follow from the rows"):
        received(document, "board")
    with pytest.raises(DeviceError, match="the answer is not the document of a gate"):
        received({"verdict": "PASS"}, "board")
