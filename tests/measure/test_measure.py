"""What is measured and what is left out, for given times; tests/measure/test_measure_command.py has real ones."""

from __future__ import annotations

from types import SimpleNamespace

import graph_folders
import pytest

from edgeattn.errors import BundleError, DeviceError, ToolError
from edgeattn.measure import run as module
from edgeattn.measure.run import measure
from edgeattn.runtimes.onnxruntime import OnnxRuntime
from edgeattn.runtimes.openvino import OpenVino

DENSE = ["dense onnxruntime MultiHeadAttention", "dense onnxruntime plain", "dense openvino plain"]
HEDGEHOG = ["hedgehog onnxruntime plain", "hedgehog openvino plain"]


@pytest.fixture
def given(monkeypatch):
    """ms: (label, length) -> time of a form, 1 by default. asked: what was timed. failing: label -> its error."""
    given = SimpleNamespace(ms={}, asked=[], failing={})

    def compare(candidates, feeds, *, rounds, failed, **_):
        length = next(iter(feeds[0].values())).shape[1]
        given.asked.append((length, sorted(candidates)))
        for label in candidates:
            if label in given.failing:
                failed(label, ToolError(given.failing[label]))
        runs = [label for label in candidates if label not in given.failing]
        return {label: [given.ms.get((label, length), 1.0)] * rounds for label in runs}

    monkeypatch.setattr(module, "quick_compare", compare)
    return given


def test_the_fastest_form_of_all_runtimes_is_held_against_the_other(given, tmp_path):
    given.ms = {(DENSE[0], 4): 3.0, (DENSE[2], 4): 2.0, (DENSE[1], 4): 2.5, (HEDGEHOG[0], 4): 0.5}
    document = measure(graph_folders.make(tmp_path, "hedgehog"))
    assert list(document["runtimes"]) == ["onnxruntime", "openvino"]
    for cell in document["cells"]:
        dense, hedgehog = cell["dense"], cell["variants"]["hedgehog"]
        assert (dense["form"], dense["runtime"], dense["ms"]) == ("openvino plain", "openvino", 2.0)
        assert (hedgehog["form"], hedgehog["runtime"]) == ("onnxruntime plain", "onnxruntime")
        assert hedgehog["speedup"]["ratio"] == pytest.approx(4.0)
    assert [(pays["projections"], pays["pays_from"]) for pays in document["pays"]] == [(False, 4), (True, 4)]


def test_what_would_fill_the_memory_or_pass_the_limit_is_left_out_and_said(monkeypatch, given, tmp_path):
    monkeypatch.setattr(module, "usable_memory_bytes", lambda: 180_000)
    given.ms = {(label, 64): 100_000.0 for label in HEDGEHOG}
    memory = {"dense": (1000, 50_000, 200_000)}
    graphs = graph_folders.make(tmp_path, "hedgehog", lengths=(4, 64, 128), memory_bytes=memory)
    document = measure(graphs)
    assert [cell["length"] for cell in document["cells"]] == [4, 4, 64, 64]
    assert [cell["dense"] is None for cell in document["cells"]] == [False, False, True, True]
    assert document["cells"][2]["variants"]["hedgehog"]["speedup"] is None
    assert document["cells"][2]["variants"]["hedgehog"]["ms"] == 100_000.0
    said = [note.partition(": left out")[0] for note in document["notes"]]
    assert said == [*(f"{label} at N = 64" for label in DENSE), "N = 128 and above"]


def test_a_form_that_is_far_slower_is_left_out_at_greater_lengths_and_said(given, tmp_path):
    given.ms = {(DENSE[1], 4): 3.0, (HEDGEHOG[1], 4): 2.5, (HEDGEHOG[0], 4): 2.4}
    document = measure(graph_folders.make(tmp_path, "hedgehog", lengths=(4, 8)))
    assert given.asked == [(4, [*DENSE, *HEDGEHOG])] * 2 + [(8, [DENSE[0], DENSE[2], *HEDGEHOG])] * 2
    assert document["notes"] == [
        f"above N = 4, {around} projections: left out as more than 2 x slower there than another form, {DENSE[1]}"
        for around in ("without", "with")
    ]


def test_the_cost_of_a_call_leaves_no_form_out(given, tmp_path):
    """Of forms that take microseconds, the slower one may be the faster one at greater lengths."""
    given.ms = {(label, 4): 0.01 for label in (*DENSE, *HEDGEHOG)} | {(DENSE[2], 4): 0.1}
    assert measure(graph_folders.make(tmp_path, "hedgehog", lengths=(4, 8)))["notes"] == []
    assert given.asked[-1] == (8, [*DENSE, *HEDGEHOG])


def test_a_form_that_does_not_run_is_left_out_and_said(given, tmp_path):
    given.failing = {DENSE[2]: "openvino cannot load the graph"}
    document = measure(graph_folders.make(tmp_path, "hedgehog", lengths=(4, 8)))
    assert given.asked[-1] == (8, [*DENSE[:2], *HEDGEHOG])
    assert document["notes"] == [f"{DENSE[2]} from N = 4: left out, openvino cannot load the graph"]
    assert list(document["cells"][0]["dense"]["forms_ms"]) == ["onnxruntime MultiHeadAttention", "onnxruntime plain"]


def test_where_no_form_runs_the_first_error_is_raised(given, tmp_path):
    given.failing = dict.fromkeys((*DENSE, *HEDGEHOG), "out of memory")
    with pytest.raises(ToolError, match="out of memory"):
        measure(graph_folders.make(tmp_path, "hedgehog"))


def test_a_form_whose_engine_cannot_be_built_is_left_out_and_said(given, tmp_path, monkeypatch):
    build, refused = OpenVino.build, ["dense-plain"]

    def some(self, graph, out, *, shapes, **options):
        assert [next(iter(each.values())).most[1] for each in shapes] == [4, 8]
        if graph.parent.name.startswith(tuple(refused)):
            raise BundleError("openvino cannot build the graph")
        return build(self, graph, out, shapes=shapes, **options)

    monkeypatch.setattr(OpenVino, "build", some)
    graphs = graph_folders.make(tmp_path, "hedgehog", lengths=(4, 8))
    document = measure(graphs)
    assert given.asked[-1] == (8, [*DENSE[:2], *HEDGEHOG])
    assert document["notes"] == [f"{DENSE[2]}: left out, openvino cannot build the graph"]
    monkeypatch.setattr(OnnxRuntime, "build", some)
    refused[:] = ["dense", "hedgehog"]
    with pytest.raises(BundleError, match="cannot build"):
        measure(graphs)


def test_a_variant_of_one_length_a_graph_is_measured_at_that_length(given, tmp_path):
    graphs = graph_folders.make(
        tmp_path, "hedgehog", lengths=(4, 8), one_length={"hedgehog": 4}, notes=("hedgehog at N = 8: left out, why",)
    )
    document = measure(graphs)
    assert given.asked == [(4, [*DENSE, *HEDGEHOG])] * 2 + [(8, DENSE)] * 2
    assert document["notes"] == ["hedgehog at N = 8: left out, why"]


def test_only_runtimes_that_are_here_are_measured(monkeypatch, given, tmp_path):
    monkeypatch.setattr(module, "installed_here", lambda: {"onnxruntime": "1.32.0", "openvino": None})
    document = measure(graph_folders.make(tmp_path, "hedgehog"))
    assert list(document["runtimes"]) == ["onnxruntime"]
    assert given.asked[0] == (4, [*DENSE[:2], HEDGEHOG[0]])


def test_a_machine_without_a_runtime_says_what_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "installed_here", lambda: {"onnxruntime": None, "openvino": None})
    with pytest.raises(DeviceError, match="no runtime for cpu: onnxruntime is not installed; openvino is not"):
        measure(graph_folders.make(tmp_path, "hedgehog"))
