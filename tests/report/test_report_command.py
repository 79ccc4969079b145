"""`edgeattn report`: the page of one bundle, and of several side by side."""

from __future__ import annotations

import json
import os
import sys

import bench_documents
import pytest
import tiny_bundle
from report_pages import visible

from edgeattn.cli.main import run
from edgeattn.report.html import save


@pytest.fixture
def bundles(tmp_path):
    """Two bundles that were built, verified and timed by themselves."""
    made = [tiny_bundle.make(tmp_path / name / "tiny", name=name) for name in ("one", "two")]
    for place, bundle in enumerate(made):
        low = 1.5 + place
        bench = bench_documents.bench(
            {128: (0.9, 0.85, 0.95), 512: (low + 0.1, low, low + 0.2)}, digest=bundle.manifest.digest
        )
        bundle.record("bench.json", bench)
        bundle.record("verify.json", bench_documents.verify())
        bundle.record("build.json", bench_documents.build())
    return made


def page_of(bundles, tmp_path):
    out = tmp_path / "compare.html"
    assert run(["report", *(str(bundle.path) for bundle in bundles), "--out", str(out)]) == 0
    return visible(out.read_text())


def test_it_makes_the_page_of_a_bundle_again(bundles, capsys):
    path = bundles[0].path
    assert run(["report", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "report": f"{path}/report.html",
        "bundles": [bundles[0].manifest.digest],
        "pictures": True,
    }
    first = (path / "report.html").read_text()
    assert first.count("<svg") == 3
    assert run(["report", str(path)]) == 0
    assert capsys.readouterr().out == f"report: {path}/report.html\n"
    assert (path / "report.html").read_text() == first  # the same evidence, the same file


def test_elsewhere_it_leaves_the_bundle_alone(bundles, tmp_path):
    out = tmp_path / "page.html"
    assert run(["report", str(bundles[0].path), "--out", str(out)]) == 0
    assert "1.60 x faster" in out.read_text()
    assert not (bundles[0].path / "report.html").exists()


def test_several_stand_side_by_side(bundles, tmp_path):
    page = page_of(bundles, tmp_path)
    for sentence in (
        "2 of 2 are faster than their own dense model at their longest length, and 2 of 2 keep the accuracy asked for.",
        "one/tiny at 512 tokens: 1.60 x faster than its own dense model (1.50 to 1.70).",
        "two/tiny at 512 tokens: 2.60 x faster than its own dense model (2.50 to 2.70).",
        "Each bundle was timed in a session of its own",
        "one/tiny: median time of one inference",
        "two/tiny: metrics on held-out data",
        "two/tiny: The recipe, with all defaults",
    ):
        assert sentence in page
    assert "different machines" not in page


def test_other_machines_are_said_and_not_compared(bundles, tmp_path):
    bench = json.loads((bundles[1].path / "bench.json").read_text())
    bench["machine"] = {"cpu_model": "Cortex-A78AE", "cores_usable": 8.0, "power_mode": "30W"}
    bundles[1].record("bench.json", bench)
    page = page_of(bundles, tmp_path)
    assert "They were measured on different machines: their milliseconds, memory and energy do not compare" in page
    assert "Cortex-A78AE, 8 cores, power mode 30W" in page


def test_what_does_not_compare_is_said(bundles, tmp_path):
    other = bench_documents.bench({100: (2.0, 1.9, 2.1)}, unit="frames", digest=bundles[1].manifest.digest)
    for engine in other["cells"][0]["contestants"].values():
        engine |= {"energy_mj": 3.0, "energy_scope": "wall"}
    bundles[1].record("bench.json", other)
    bench = json.loads((bundles[0].path / "bench.json").read_text())
    for cell in bench["cells"]:
        for engine in cell["contestants"].values():
            engine |= {"energy_mj": 3.0, "energy_scope": "module"}
    bundles[0].record("bench.json", bench)
    page = page_of(bundles, tmp_path)
    assert "Their inputs are measured in different ways: frames, tokens." in page
    assert "The scopes differ (module, whole device at the wall): these energies do not compare." in page


def test_one_that_was_not_measured_stands_beside_one_that_was(bundles, tmp_path):
    unbuilt = tiny_bundle.make(tmp_path / "new", name="new", candidates={"fp32": tiny_bundle.graph()})
    page = page_of([bundles[0], unbuilt], tmp_path)
    assert "new not measured n/a n/a n/a n/a" in page
    assert "new: Not built yet" in page


def test_several_need_a_place(bundles, capsys):
    assert run(["report", *(str(bundle.path) for bundle in bundles)]) == 2
    assert "fix: name a file, such as --out compare.html" in capsys.readouterr().err


def test_it_does_not_write_into_a_bundle_by_name(bundles, capsys):
    assert run(["report", str(bundles[0].path), "--out", str(bundles[0].path / "bundle.json")]) == 2
    assert "choose a file outside of it" in capsys.readouterr().err


def test_a_bundle_that_cannot_be_written_has_its_page_elsewhere(bundles, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda _path, mode, **_options: mode != os.W_OK)
    assert run(["report", str(bundles[0].path)]) == 5
    assert "the folder is read-only\n  fix: write the page elsewhere with --out" in capsys.readouterr().err


def test_an_invalid_session_is_said_first(bundles, tmp_path):
    bench = json.loads((bundles[0].path / "bench.json").read_text())
    bench["conditions"] = {"start": {}, "end": {}, "discarded": [], "invalid": "5 of 20 pairs were disturbed"}
    bundles[0].record("bench.json", bench)
    assert run(["report", str(bundles[0].path)]) == 0
    head = (bundles[0].path / "report.html").read_text().partition("<section")[0]
    assert "INVALID: 5 of 20 pairs were disturbed. These figures mean nothing: measure again." in head


def test_without_matplotlib_the_page_is_complete_in_text(bundles, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["report", str(bundles[0].path)]) == 0
    assert "without pictures: matplotlib is not installed; pip install 'edgeattn[report]'" in capsys.readouterr().out
    page = (bundles[0].path / "report.html").read_text()
    assert "<svg" not in page
    assert "The pictures are missing" in page
    assert "<code>pip install &#39;edgeattn[report]&#39;</code>" in page or "pip install 'edgeattn[report]'" in page
    assert "1.60 x faster than dense (1.50 to 1.70)" in page


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bench", "At 512 tokens new is 1.60 x faster than old: 12.5 ms per inference in place of 20 ms."),
        ("bench-server", "512 tokens: 1.60 x faster than old (1.50 to 1.70)"),
    ],
)
def test_engines_of_several_bundles_in_one_session(bundles, tmp_path, name, said):
    """As `edgeattn bench A B --out` writes it."""
    bench = bench_documents.bench({128: (0.9, 0.85, 0.95), 512: (1.6, 1.5, 1.7)}, names=("old", "new"))
    if name != "bench":
        bench |= {"scenario": "server", "figure": "p99_ms", "compares": "the 99th percentile"}
    (tmp_path / "out").mkdir()
    page = visible(save({f"{name}.json": bench}, bundles, tmp_path / "out").read_text())
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text()) == bench
    for sentence in ("new beside old", said, "old Cortex-A76, 4 cores the reference kept", "own dense model"):
        assert (sentence in page) == (sentence != "own dense model")
