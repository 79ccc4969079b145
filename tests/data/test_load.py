"""Files of every format become rows with our column names; what cannot is said with the nearest right name."""

from __future__ import annotations

import gzip
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from edgeattn.data.digest import source_digest
from edgeattn.data.load import load_rows
from edgeattn.errors import DataError, RecipeError
from edgeattn.recipe.schema import Columns, Source

TEXTS = ["one two three", 'a "quoted" word', "NA", "comma, and ünïcode"]
COLUMNS = Columns(text="sentence", score="value")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """What the datasets library writes stays in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")


def written(folder, name, content, **options):
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return load_rows(Source(source=name, **options), folder)


def parquet():
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"sentence": TEXTS, "value": [0.5, 1, 2, 3], "more": [1, 2, 3, 4]}), sink)
    return sink.getvalue().to_pybytes()


CSV = 'sentence,value,more\none two three,0.5,x\n"a ""quoted"" word",1,x\nNA,2,x\n"comma, and ünïcode",3,x\n'
JSONL = "".join(json.dumps({"sentence": text, "value": i, "more": 1}) + "\n" for i, text in enumerate(TEXTS))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", CSV), ("a.jsonl", JSONL), ("a.tsv", CSV.replace("sentence,value,more",
     "sentence\tvalue\tmore").replace(",0.5,", "\t0.5\t").replace(",1,", "\t1\t").replace(",2,", "\t2\t").replace(",3,",
     "\t3\t")), ("a.parquet", parquet())],
)  # fmt: skip
def test_a_table_of_every_format(tmp_path, name, content, suffix):
    if name == "a.parquet" and suffix:
        pytest.skip("parquet compresses by itself")
    rows = written(tmp_path, name + suffix, content, columns=COLUMNS)
    assert sorted(rows.column_names) == ["score", "text"]
    assert list(rows["text"]) == TEXTS


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_of_text(tmp_path, name):
    assert list(written(tmp_path, name, "\n".join(TEXTS) + "\n", columns=Columns(text="text"))["text"]) == TEXTS


def test_a_tsv_without_header_and_quoting(tmp_path):
    """As STS-B and SICK come: a quotation mark may open and never close."""
    rows = written(
        tmp_path, "pairs.tsv", '1.5\tsays "no\tsays yes\n4\t"\tquote\n', names=["s", "a", "b"], quoting=False,
        columns=Columns(text="a", text_pair="b", score="s"),
    )  # fmt: skip
    assert [dict(row) for row in rows] == [
        {"score": 1.5, "text": 'says "no', "text_pair": "says yes"},
        {"score": 4.0, "text": '"', "text_pair": "quote"},
    ]


def test_a_missing_column_is_told_with_the_nearest(tmp_path):
    with pytest.raises(DataError) as caught:
        written(tmp_path, "a.csv", CSV, columns=Columns(text="sentense"))
    assert str(caught.value) == (
        "a.csv: no column 'sentense' for text\n  fix: did you mean 'sentence'? known: more, sentence, value"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "text,label\n"), ("a.csv", ""), ("a.txt", ""), ("a.jsonl", "")]
)
def test_an_empty_file_is_refused(tmp_path, name, content):
    with pytest.raises(DataError, match=f"{name}: (no rows|cannot be read as)"):
        written(tmp_path, name, content, columns=Columns(text="text"))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", '{"text": "a"}\n{broken\n'), ("a.parquet", "no parquet")])
def test_an_unreadable_file_is_refused(tmp_path, name, content):
    with pytest.raises(DataError, match=f"{name}: cannot be read as {name[2:]}: .+\n  fix: check the file"):
        written(tmp_path, name, content, columns=Columns(text="text"))


@pytest.mark.parametrize("name", ["a.xlsx", "a.pkl", "a", "a.gz"])
def test_an_unknown_format_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name} is of no known format\n  fix: known: \.csv, \.json, \.jsonl"):
        written(tmp_path, name, "text\na\n", columns=Columns(text="text"))


def test_a_row_without_its_text_is_refused_not_read_as_none(tmp_path):
    with pytest.raises(DataError) as caught:
        written(tmp_path, "a.csv", "text,more\none,1\n,2\nNone,3\n,4\n", columns=Columns(text="text"))
    assert caught.value.fact == "text is missing in 2 of 4 rows, first in row 2"
    rows = written(tmp_path, "b.csv", "text,more\nnull,1\nNone,3\n", columns=Columns(text="text"))
    assert list(rows["text"]) == ["null", "None"]


def test_a_limit_takes_rows_spread_over_all(tmp_path):
    assert list(written(tmp_path, "a.csv", CSV, columns=COLUMNS, limit=2)["text"]) == [TEXTS[0], TEXTS[-1]]
    assert len(written(tmp_path, "a.csv", CSV, columns=COLUMNS, limit=100)) == 4


def test_a_file_out_of_the_recipes_folder_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"leads out of the recipe's folder"):
        load_rows(Source(source="../a.csv"), tmp_path)


def test_the_digest_is_that_of_the_content(tmp_path):
    source = Source(source="a.txt", columns=Columns(text="text"))
    (tmp_path / "a.txt").write_text("one\n")
    first = source_digest(source, tmp_path)
    (tmp_path / "a.txt").write_text("two\n")
    assert source_digest(source, tmp_path) != first
    (tmp_path / "a.txt").write_text("one\n")
    assert source_digest(source, tmp_path) == first


def test_a_changed_file_is_read_anew(tmp_path):
    assert list(written(tmp_path, "a.txt", "one\n", columns=Columns(text="text"))["text"]) == ["one"]
    assert list(written(tmp_path, "a.txt", "two\n", columns=Columns(text="text"))["text"]) == ["two"]
