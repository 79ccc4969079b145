"""Files of every format become rows with our column names; errors name the file and the remedy."""

from __future__ import annotations

import gzip
import json
import logging

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from edgeattn.data import load
from edgeattn.data.digest import source_digest
from edgeattn.data.load import load_rows
from edgeattn.errors import DataError, DeviceError, RecipeError
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


def parquet(rows=4):
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"sentence": TEXTS, "value": [0.5, 1, 2, 3], "more": [1, 2, 3, 4]})
    pyarrow.parquet.write_table(table[:rows], sink)
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
    assert sorted(rows.columns) == ["score", "text"]
    assert rows.texts("text") == TEXTS


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_of_text(tmp_path, name):
    assert list(written(tmp_path, name, "\n".join(TEXTS) + "\n", columns=Columns(text="text")).texts("text")) == TEXTS


def test_a_tsv_without_header_and_quoting(tmp_path):
    """As STS-B and SICK come: a quotation mark may open and never close."""
    rows = written(
        tmp_path, "pairs.tsv", '1.5\tsays "no\tsays yes\n4\t"\tquote\n', names=["s", "a", "b"], quoting=False,
        columns=Columns(text="a", text_pair="b", score="s"),
    )  # fmt: skip
    assert rows.texts("text") == ['says "no', '"']
    assert rows.texts("text_pair") == ["says yes", "quote"]
    assert rows.scores("score").tolist() == [1.5, 4]


def test_a_missing_column_is_told_with_the_nearest(tmp_path):
    with pytest.raises(DataError) as caught:
        written(tmp_path, "a.csv", CSV, columns=Columns(text="sentense"))
    assert str(caught.value) == (
        "a.csv: no column 'sentense' for text\n  fix: did you mean 'sentence'? known: more, sentence, value"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "text,label\n"), ("a.csv", ""), ("a.csv.gz", "text,label\n\n"), ("a.txt", ""), ("a.jsonl", ""),
     ("a.parquet", parquet(rows=0))],
)  # fmt: skip
def test_an_empty_file_has_no_rows(tmp_path, name, content):
    with pytest.raises(DataError) as caught:
        written(tmp_path, name, content, columns=Columns(text="text"))
    assert str(caught.value) == f"{name}: no rows\n  fix: check the file"


@pytest.mark.parametrize(
    ("name", "content", "fix"),
    [
        ("a.jsonl", '{"text": "a"}\n{broken\n', "check the file$"),
        ("a.parquet", "no parquet", "check the file$"),
        ("a.csv", 'text\n"never closed\n', "check the file, and `names` and `quoting` in the recipe$"),
        ("a.csv", "text\na\nb,c\n", "check the file, and `names` and `quoting` in the recipe$"),
    ],
)
def test_an_unreadable_file_is_refused_in_one_error(tmp_path, name, content, fix, caplog):
    """The datasets library logs the failure too, with the whole path of the file."""
    with pytest.raises(DataError, match=rf"^{name}: cannot be read as {name[2:]}: .+\n  fix: {fix}"):
        written(tmp_path, name, content, columns=Columns(text="text"))
    assert caplog.records == []


def test_the_words_of_the_datasets_library_are_kept_under_v(tmp_path, caplog):
    with caplog.at_level(logging.DEBUG, "edgeattn"), pytest.raises(DataError):
        written(tmp_path, "a.csv", "text\na\nb,c\n", columns=Columns(text="text"))
    assert "Failed to read file" in caplog.text


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.tsv.gz", "a.jsonl"])
def test_another_encoding_is_said_with_its_line(tmp_path, name):
    texts = ["text", "plain", "caf\xe9"] if "json" not in name else ['{"text": "x"}'] * 2 + ['{"text": "caf\xe9"}']
    with pytest.raises(DataError) as caught:
        written(tmp_path, name, "\n".join(texts).encode("latin-1"), columns=Columns(text="text"))
    assert str(caught.value) == f"{name}, line 3: is not UTF-8\n  fix: save it as UTF-8"


@pytest.mark.parametrize("name", ["a.xlsx", "a.pkl", "a", "a.gz"])
def test_an_unknown_format_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=rf"{name} is of no known format\n  fix: known: \.csv, \.json, \.jsonl"):
        written(tmp_path, name, "text\na\n", columns=Columns(text="text"))


def test_a_row_without_its_text_is_refused_not_read_as_none(tmp_path):
    rows = written(tmp_path, "a.csv", "text,more\none,1\n,2\nNone,3\n,4\n", columns=Columns(text="text"))
    with pytest.raises(DataError) as caught:
        rows.texts("text")
    assert str(caught.value).startswith("a.csv, row 2: text is missing; 2 of 4 rows are wrong\n  fix: give a text in")
    rows = written(tmp_path, "b.csv", "text,more\nnull,1\nNone,3\n", columns=Columns(text="text"))
    assert rows.texts("text") == ["null", "None"]


def test_a_limit_takes_rows_spread_over_all(tmp_path):
    rows = written(tmp_path, "a.csv", CSV, columns=COLUMNS, limit=2)
    assert rows.texts("text") == [TEXTS[0], TEXTS[-1]]
    assert len(written(tmp_path, "a.csv", CSV, columns=COLUMNS, limit=100)) == 4


def test_a_limit_keeps_the_rows_numbers(tmp_path):
    rows = written(tmp_path, "a.csv", CSV.replace(",3,", ",high,"), columns=COLUMNS, limit=2)
    with pytest.raises(DataError, match=r"^a\.csv, row 4: score is the text 'high', not a finite number\n"):
        rows.scores("score")


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity"])
def test_a_score_that_is_not_finite_is_found_in_a_table_too(tmp_path, cell):
    rows = written(tmp_path, "a.csv", CSV.replace(",2,", f",{cell},"), columns=COLUMNS)
    with pytest.raises(DataError, match=r"^a\.csv, row 3: score is the number -?(nan|inf), not a finite number\n"):
        rows.scores("score")


@pytest.mark.parametrize("odd", [5, "x", {"a": 1}, [[1, 2], [3]], None, [[["a"]]]])
def test_an_image_that_is_none_is_refused_whatever_it_is(tmp_path, odd):
    image = [[[0.5, 1], [0, 1]]]
    content = "".join(json.dumps({"image": each, "label": 0}) + "\n" for each in (image, odd, image))
    rows = written(tmp_path, "a.jsonl", content)
    with pytest.raises(DataError, match=r"^a\.jsonl, row 2: image (is not an array of numbers|has shape \[.*\], not)"):
        rows.images("image")


def test_a_column_can_take_the_name_of_another(tmp_path):
    rows = written(tmp_path, "a.csv", "text,score\nid,good\n", columns=Columns(text="score"))
    assert list(rows.columns) == ["text"]
    assert rows.texts("text") == ["good"]


def test_the_hub_out_of_reach_is_said(tmp_path, monkeypatch):
    def unreachable(*_args, **_options):
        raise ConnectionError("Couldn't reach 'org/name' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr(load, "load_dataset", unreachable)
    with pytest.raises(DeviceError, match=r"^hub:org/name: the hub cannot be reached .*\n  fix: go online once"):
        load_rows(Source(source="hub:org/name"), tmp_path)


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
    assert list(written(tmp_path, "a.txt", "one\n", columns=Columns(text="text")).texts("text")) == ["one"]
    assert list(written(tmp_path, "a.txt", "two\n", columns=Columns(text="text")).texts("text")) == ["two"]
