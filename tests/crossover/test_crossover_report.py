"""The table of a crossover on the terminal, and its files."""

from __future__ import annotations

import io
import json

import crossover_documents

from edgeattn.crossover.record import record
from edgeattn.crossover.table import show_crossover


def table(document):
    stream = io.StringIO()
    show_crossover(document, stream)
    return stream.getvalue().splitlines()


def test_the_table_says_from_where_on_each_variant_pays():
    document = crossover_documents.document()
    lines = table(document)
    assert max(map(len, lines)) <= 120
    rows = [line.split() for line in lines]
    assert rows[3][:4] == ["attention", "projections", "N=64", "N=128"]
    assert rows[4][:4] == ["dense,", "ms", "without", "0.0819"]
    hedgehog = [row for row in rows if row[0] == "hedgehog"]
    assert [row[1] for row in hedgehog] == ["without", "with"]
    # 0.92 with an interval from 0.83 to 1.01 is no measurable difference from dense.
    assert hedgehog[0][2:5] == ["0.36", "~0.92", "2.14"]
    assert hedgehog[0][-3:] == ["256", "(about", "137)"]
    assert "fastest form of dense: plain in 0 of 14, MultiHeadAttention in 14 of 14" in lines
    assert lines[-1] == "N = 8192 and above: left out"


def test_one_that_pays_nowhere_and_one_that_pays_everywhere():
    document = crossover_documents.document(("hedgehog",), (64, 128))
    assert table(document)[5].endswith("not up to 128")
    document["pays"][0].update(pays_from=64, estimate=None)
    assert table(document)[5].endswith("64 or below")


def test_what_was_not_measured_is_not_available():
    document = crossover_documents.document(("hedgehog", "luna"), (64, 128))
    document["cells"][1]["dense"] = None
    document["cells"][1]["variants"]["hedgehog"]["speedup"] = None
    del document["cells"][1]["variants"]["luna"]
    rows = [line.split() for line in table(document)]
    assert [row[-1] for row in rows[4:5]] == ["n/a"]
    assert [row[3] for row in rows[5:7]] == ["n/a", "n/a"]


def test_the_files_hold_document_table_and_plot(tmp_path):
    document = crossover_documents.document()
    document["cells"][6]["dense"] = None
    del document["cells"][6]["variants"]["luna"]
    record(document, tmp_path)
    assert json.loads((tmp_path / "crossover.json").read_text()) == document
    assert (tmp_path / "crossover.txt").read_text().splitlines() == table(document)
    svg = (tmp_path / "crossover.svg").read_text()
    assert [name for name in ("dense", *crossover_documents.NAMES) if f">{name}<" not in svg] == []
    assert (tmp_path / "crossover.png").read_bytes().startswith(b"\x89PNG")
