"""A bundle is what was written, or it does not open. Tampering is in tests/attacks/."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_bundle import small_graph

from edgeattn import bundle
from edgeattn.bundle import Bundle
from edgeattn.errors import BundleError


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_opens_with_its_manifest_graphs_and_arrays(small_bundle, manifest):
    opened = Bundle.open(small_bundle)
    assert opened.manifest.model_copy(update={"files": {}}) == manifest
    assert sorted(opened.manifest.files) == [name for name in names(small_bundle) if name != "bundle.json"]
    assert opened.graph("efficient") == small_bundle / "model.onnx"
    assert opened.graph("dense").read_bytes() == small_graph("dense")
    samples = opened.arrays("samples")
    assert list(samples) == ["input.input_ids"]
    np.testing.assert_array_equal(samples["input.input_ids"], [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(BundleError, match=r"eval\.npz: is not in the bundle"):
        opened.arrays("eval")


def test_arrays_never_unpickle(small_bundle, manifest):
    np.savez(small_bundle / "eval.npz", label=np.array([{"a": 1}], dtype=object))
    with pytest.raises(BundleError, match=r"eval\.npz: cannot be read: Object arrays cannot be loaded"):
        bundle.write(small_bundle, manifest).arrays("eval")


def test_reports_can_be_rewritten(small_bundle):
    opened = Bundle.open(small_bundle)
    Bundle.open(small_bundle).record("bench.json", {"pairs": 3})
    opened.record("verify.json", {"passed": False})
    opened.record("verify.json", {"passed": True})
    opened.record("report.html", "<p>é</p>")
    again = Bundle.open(small_bundle)
    assert again.manifest == opened.manifest
    assert {"bench.json", "verify.json", "report.html"} <= set(again.manifest.files)
    assert json.loads((small_bundle / "verify.json").read_text()) == {"passed": True}
    assert (small_bundle / "report.html").read_text(encoding="utf-8") == "<p>é</p>"
    with pytest.raises(ValueError, match=r"'model\.onnx' is not one of install\.md, build\.json"):
        opened.record("model.onnx", "")


def test_publish_makes_and_replaces(small_bundle, manifest, tmp_path):
    out = tmp_path / "build" / "tiny"
    first = bundle.publish(small_bundle, out)
    assert first.path == out
    first.record("bench.json", {"pairs": 3})
    (small_bundle / "notes.txt").write_text("listed from now on")
    bundle.write(small_bundle, manifest)
    (small_bundle / "unlisted.txt").write_text("stays where it is")
    bundle.publish(small_bundle, out)
    assert names(out) == [name for name in names(small_bundle) if name != "unlisted.txt"]
    assert Bundle.open(out).manifest == Bundle.open(small_bundle).manifest
    assert [path.name for path in out.parent.iterdir()] == ["tiny"]


def test_publish_records_reports_in_the_copy_before_it_is_put_in_place(small_bundle, tmp_path):
    out, seen = tmp_path / "out", []

    def finish(copied):
        seen.append(out.exists())
        copied.record("verify.json", {"passed": True})

    published = bundle.publish(small_bundle, out, finish=finish)
    assert seen == [False]
    assert published.path == out
    assert Bundle.open(out).manifest == published.manifest
    assert "verify.json" in published.manifest.files
    assert not (small_bundle / "verify.json").exists()  # the source, such as an entry of the store, is unchanged


def test_publish_leaves_the_old_bundle_when_a_report_fails(small_bundle, tmp_path):
    out = tmp_path / "out"
    bundle.publish(small_bundle, out)

    def fails(copied):
        copied.record("verify.json", {"passed": True})
        raise BundleError("no report")

    with pytest.raises(BundleError, match="no report"):
        bundle.publish(small_bundle, out, finish=fails)
    assert "verify.json" not in Bundle.open(out).manifest.files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small_bundle"]


def test_publish_replaces_where_folders_cannot_be_swapped(small_bundle, tmp_path, monkeypatch):
    """File systems and C libraries without renameat2."""
    out = tmp_path / "out"
    bundle.publish(small_bundle, out)
    (out / "model.onnx").write_bytes(b"old")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    assert bundle.publish(small_bundle, out).graph("efficient").read_bytes() == small_graph("efficient")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small_bundle"]


def test_publish_takes_an_empty_folder(small_bundle, tmp_path):
    (tmp_path / "out").mkdir()
    bundle.publish(small_bundle, tmp_path / "out")
    Bundle.open(tmp_path / "out")


def test_publish_replaces_nothing_but_a_bundle(small_bundle, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="home: is neither empty nor a bundle"):
        bundle.publish(small_bundle, home)
    with pytest.raises(BundleError, match=r"thesis\.txt: exists and is not a folder"):
        bundle.publish(small_bundle, home / "thesis.txt")
    out = tmp_path / "out"
    bundle.publish(small_bundle, out)
    (home / "thesis.txt").rename(out / "thesis.txt")
    with pytest.raises(BundleError, match=r"thesis\.txt: is not part of the bundle that would be replaced"):
        bundle.publish(small_bundle, out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_a_damaged_bundle_is_not_published(small_bundle, tmp_path):
    bundle.publish(small_bundle, tmp_path / "out")
    (small_bundle / "model.onnx").write_bytes(small_graph("EFFICIENT"))
    with pytest.raises(BundleError, match="was changed"):
        bundle.publish(small_bundle, tmp_path / "out")
    assert Bundle.open(tmp_path / "out").graph("efficient").read_bytes() == small_graph("efficient")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "small_bundle"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": NaN}', "[" * 100_000, "\x80"])
def test_what_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "bundle.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BundleError, match=r"bundle\.json: .*"):
        Bundle.open(tmp_path)


def test_a_missing_bundle_is_told(tmp_path):
    with pytest.raises(BundleError, match="cannot be read as a bundle: No such file"):
        Bundle.open(tmp_path / "nowhere")


def test_opening_imports_no_native_runtime():
    code = "import sys, edgeattn.bundle, edgeattn.worker; print({'torch', 'onnxruntime'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
