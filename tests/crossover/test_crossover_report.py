"""The table of a crossover on the terminal, and its files."""

from __future__ import annotations

import io
import json

import crossover_documents

from edgeattn.crossover.record import record
from edgeattn.measure.table import show_crossover, show_crossovers


def table(document):
    stream = io.StringIO()
    show_crossover(document, stream)
    return stream.getvalue().splitlines()


def test_the_table_says_from_where_on_each_variant_pays():
    document = crossover_documents.document()
    lines = table(document)
    assert max(map(len, lines)) <= 120
    rows = [line.split() for line in lines]
    assert lines[1] == "AMD EPYC, 2 threads, onnxruntime 1.32.0, openvino 2026.4.0"
    assert lines[3] == "the letter is the runtime of the fastest form: a onnxruntime, b openvino"
    assert rows[4][:4] == ["attention", "projections", "N=64", "N=128"]
    assert rows[5][:5] == ["dense,", "ms", "without", "0.0819", "a"]
    hedgehog = [row for row in rows if row[0] == "hedgehog"]
    assert [row[1] for row in hedgehog] == ["without", "with"]
    # 0.92 with an interval from 0.83 to 1.01 is no measurable difference from dense.
    assert hedgehog[0][2:8] == ["0.36", "b", "~0.92", "b", "2.14", "b"]
    assert hedgehog[0][-3:] == ["256", "(about", "137)"]
    assert "fastest form of dense: openvino plain in 0 of 14, onnxruntime MultiHeadAttention in 14 of 14" in lines
    assert lines[-1] == "N = 8192 and above: left out"


def test_one_that_pays_nowhere_and_one_that_pays_everywhere():
    document = crossover_documents.document(("hedgehog",), (64, 128))
    assert table(document)[6].endswith("not up to 128")
    document["pays"][0].update(pays_from=64, estimate=None)
    assert table(document)[6].endswith("64 or below")


def test_what_was_not_measured_is_not_available():
    document = crossover_documents.document(("hedgehog", "luna"), (64, 128))
    document["cells"][1]["dense"] = None
    document["cells"][1]["variants"]["hedgehog"]["speedup"] = None
    del document["cells"][1]["variants"]["luna"]
    rows = [line.split() for line in table(document)]
    assert [row[-1] for row in rows[5:6]] == ["n/a"]
    assert [row[4] for row in rows[6:8]] == ["n/a", "n/a"]


def test_one_runtime_needs_no_letters():
    document = crossover_documents.document(("hedgehog",), (64, 128))
    document["runtimes"].pop("onnxruntime")
    for cell in document["cells"]:
        cell["dense"]["runtime"] = "openvino"
    lines = table(document)
    assert lines[4].split() == ["dense,", "ms", "without", "0.0819", "0.328"]
    assert not any("letter" in line for line in lines)


def test_several_hosts_have_one_table():
    first = crossover_documents.document(("hedgehog",), (64, 128))
    second = crossover_documents.document(("hedgehog",), (64,))
    second["machine"] = {"cpu_model": "Cortex-A76"}
    stream = io.StringIO()
    show_crossovers([("here", first), ("pi5", second)], stream)
    lines = stream.getvalue().splitlines()
    assert "pi5: Cortex-A76, 2 threads, onnxruntime 1.32.0, openvino 2026.4.0" in lines
    rows = [line.split() for line in lines]
    assert rows[5] == ["host", "attention", "projections", "N=64", "N=128", "pays", "from", "N"]
    assert [row[:2] for row in rows[6:10]] == [
        ["here", "dense,"], ["here", "hedgehog"], ["pi5", "dense,"], ["pi5", "hedgehog"],
    ]  # fmt: skip
    assert rows[9][5:] == ["n/a", "not", "up", "to", "64"], "a length that one host did not reach"
    assert lines[-1] == "pi5: N = 8192 and above: left out"


def test_the_files_hold_document_table_and_plot(tmp_path):
    document = crossover_documents.document()
    document["cells"][6]["dense"] = None
    del document["cells"][6]["variants"]["luna"]
    record(document, tmp_path)
    assert json.loads((tmp_path / "crossover.json").read_text()) == document
    assert (tmp_path / "crossover.txt").read_text().splitlines() == table(document)
    svg = (tmp_path / "crossover.svg").read_text()
    assert "in onnxruntime" in svg
    assert "in openvino" in svg
    assert [name for name in ("dense", *crossover_documents.NAMES) if f">{name}<" not in svg] == []
    assert (tmp_path / "crossover.png").read_bytes().startswith(b"\x89PNG")
