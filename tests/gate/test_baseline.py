"""Baselines: saved, opened, and refused where they are not what was saved or not where they were."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.devices import fingerprint
from edgeattn.errors import BundleError, DeviceError
from edgeattn.gate.baseline import digest_of, open_baseline, require_here, save


@pytest.fixture
def saved(tiny, tmp_path):
    return save(tiny, tmp_path / "baseline", note="commit 1234")


def changed(saved, **facts):
    """The baseline after its file was changed, as on another machine."""
    file = saved.path / "baseline.json"
    document = json.loads(file.read_text())
    document["machine"].update(facts)
    file.write_text(json.dumps(document))
    return open_baseline(saved.path)


def test_it_is_a_bundle_that_can_run_again(tiny, saved):
    found = open_baseline(saved.path)
    assert Bundle.open(saved.path / "bundle").manifest.digest == tiny.manifest.digest == found.saved.bundle
    assert found.saved.digest == digest_of(tiny)
    assert found.saved.machine == fingerprint()
    assert (found.saved.note, found.saved.runtime, found.saved.energy) == ("commit 1234", "onnxruntime", None)
    require_here(found)


def test_saving_again_replaces_it_and_nothing_else(tiny, saved, tmp_path):
    other = tiny_bundle.make(tmp_path / "other", name="other")
    assert save(other, saved.path).saved.name == "other"
    assert open_baseline(saved.path).bundle.manifest.name == "other"
    (saved.path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="is neither empty nor a baseline"):
        save(tiny, saved.path)


def test_one_that_is_not_built_is_not_saved(tmp_path):
    bundle = tiny_bundle.make(tmp_path / "unbuilt", candidates={"fp32": tiny_bundle.graph()})
    with pytest.raises(BundleError, match="is not built yet"):
        save(bundle, tmp_path / "baseline")
    assert not (tmp_path / "baseline").exists()


def test_a_changed_file_is_refused(saved):
    with (saved.path / "bundle" / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match=r"model\.onnx: has \d+ bytes; bundle\.json says"):
        open_baseline(saved.path)


def test_another_bundle_in_its_place_is_refused(saved, tmp_path):
    """With digests of its own it is a sound bundle, and not the one that was saved."""
    (saved.path / "bundle" / "config.json").write_text('{"faster": true}')
    manifest = saved.path / "bundle" / "bundle.json"
    document = json.loads(manifest.read_text())
    document["files"]["config.json"] = {"sha256": "sha256:" + "0" * 64, "bytes": 0}
    manifest.write_text(json.dumps(document))
    tiny_bundle.sign(saved.path / "bundle")
    with pytest.raises(BundleError, match=r"its bundle has the digest \S+, \S+ was saved\n  fix: restore"):
        open_baseline(saved.path)


def test_a_change_that_replaces_its_own_baseline_is_refused_by_the_pinned_digest(saved, tmp_path):
    """Here it only lowers the floor, which is in bundle.json: the files are the same."""
    pinned = saved.saved.digest
    save(tiny_bundle.make(tmp_path / "edited", floor=0.5), saved.path)
    with pytest.raises(BundleError, match=rf"{pinned} is required\n  fix: take the baseline from the protected branch"):
        open_baseline(saved.path, digest=pinned)


def test_a_report_in_the_bundle_changes_nothing(saved):
    saved.bundle.record("verify.json", {"passed": True})
    assert open_baseline(saved.path).saved.digest == digest_of(saved.bundle)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"cpu_model": "Cortex-A78AE"}, "its cpu model was Cortex-A78AE, here it is "),
        ({"usable_cores": 64.0}, "its usable cores was 64.0, here it is "),
        ({"instruction_sets": ["neon", "i8mm"]}, "its instruction sets was neon, i8mm, here it is "),
    ],
)
def test_one_of_another_device_is_not_compared(saved, facts, message):
    with pytest.raises(DeviceError, match=f"the baseline is of another device: {message}") as raised:
        require_here(changed(saved, **facts))
    assert raised.value.exit_code == 4


def test_one_of_another_power_mode_is_not_compared(saved):
    found = changed(saved, power={"nvpmodel": "pmode:0002"})
    now = {**fingerprint(), "power": {"nvpmodel": "pmode:0000"}}
    with pytest.raises(DeviceError, match="in another power mode: nvpmodel was pmode:0002, here it is pmode:0000"):
        require_here(found, now)
    require_here(found, {**now, "power": {"nvpmodel": None}})  # unknown here: it cannot be told


def test_one_of_another_version_of_its_runtime_is_not_compared(saved):
    now = {**fingerprint(), "runtimes": {"onnxruntime": "9.9"}}
    with pytest.raises(DeviceError, match=r"it ran with onnxruntime [\d.]+, 9\.9 is installed"):
        require_here(saved, now)


def test_a_plain_bundle_is_compared_with_the_machine_that_built_it(tiny):
    machine = {"cpu_model": "Cortex-A72", "architecture": "aarch64", "instruction_sets": []}
    tiny.record("build.json", {"machine": machine, "runtimes": {}})
    with pytest.raises(DeviceError, match="its cpu model was Cortex-A72"):
        require_here(open_baseline(tiny.path))
    tiny.record("build.json", {"machine": None})
    with pytest.raises(BundleError, match=r"build\.json: cannot be read"):
        require_here(open_baseline(tiny.path))


@pytest.mark.parametrize("text", ["{", '{"schema": 2}', '{"schema": 1, "name": 3}', "[]"])
def test_a_damaged_file_is_refused(saved, text, capsys):
    (saved.path / "baseline.json").write_text(text)
    assert run(["baseline", "show", str(saved.path)]) == 2
    assert "baseline.json" in capsys.readouterr().err


def test_save_show_and_verify_as_a_user_types_them(tiny, tmp_path, capsys):
    folder = str(tmp_path / "kept")
    assert run(["baseline", "save", str(tiny.path), folder, "--note", "main\x1b[31m <b>"]) == 0
    capsys.readouterr()
    assert run(["baseline", "show", folder]) == 0
    shown = capsys.readouterr().out
    assert tiny.manifest.digest in shown
    assert "note             main <b>\n" in shown, "no escape sequence reaches the terminal"
    assert run(["baseline", "show", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == tiny.manifest.digest
    assert run(["baseline", "verify", folder, "--digest", digest_of(tiny)]) == 0
    assert "whole, and runs here as it did" in capsys.readouterr().out
    assert run(["baseline", "verify", folder, "--digest", "sha256:" + "0" * 64]) == 2


def test_verify_of_wrong_outputs_exits_with_1(tmp_path, capsys):
    bundle = tiny_bundle.make(tmp_path / "tiny", efficient=tiny_bundle.graph(poison=True))
    save(bundle, tmp_path / "kept")
    assert run(["baseline", "verify", str(tmp_path / "kept")]) == 1
    assert "the baseline failed verification: output 'sentence_embedding' has " in capsys.readouterr().err
