"""The data sets that need no download."""

from __future__ import annotations

import re
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from edgeattn.data import builtin, docstrings
from edgeattn.data.digest import source_digest
from edgeattn.data.load import load_rows
from edgeattn.errors import DataError
from edgeattn.recipe.schema import Columns, Source

HERE = Path()


def rows(name, split, **options):
    return load_rows(Source(source=f"builtin:{name}", split=split, **options), HERE)


@pytest.fixture(scope="module")
def docs():
    return {split: rows("python-docs", split, columns=Columns(text="text")).texts("text") for split in builtin.SPLITS}


SOURCE = '''"""The module."""
class A:
    """A class."""
    def f(self):
        """A method,
        in two lines.
        """
async def g():
    "A coroutine."
def h(): pass
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Makes a standard library of the given files, path -> text; returns its folder."""

    def make(**files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    docstrings.docstrings.cache_clear()
    yield make
    docstrings.docstrings.cache_clear()


def test_python_docs_are_enough_clean_sentences(docs):
    assert len(docs["train"]) > 1000
    assert len(docs["test"]) > 200
    for text in docs["train"] + docs["test"]:
        assert 4 <= len(text.split()) <= 120
        assert not re.search(r"::=|>>>|\n|\*", text)


def test_python_docs_train_and_test_share_no_text(docs):
    assert not set(docs["train"]) & set(docs["test"])
    for texts in docs.values():
        assert len(set(texts)) == len(texts)


def test_python_docs_train_and_test_share_no_topic(docs):
    """A text is of every topic that contains it; paragraphs that a test topic shares are not in the train split."""
    squeezed = {name: " ".join(text.replace("*", "").split()) for name, text in topics.items()}
    held_out = [text for name, text in squeezed.items() if builtin._held_out(name)]
    kept = [text for name, text in squeezed.items() if not builtin._held_out(name)]
    assert 0.1 < len(held_out) / len(topics) < 0.3
    assert all(any(text in topic for topic in held_out) for text in docs["test"])
    assert all(any(text in topic for topic in kept) for text in docs["train"])
    # Short texts, such as "New in version 3.8.", are in every topic. The long ones that remain are in a held-out
    # paragraph that is not prose; their number depends on the version of Python.
    long = [text for text in docs["train"] if len(text.split()) > 12]
    assert sum(any(text in topic for topic in held_out) for text in long) < 0.01 * len(long)


def test_docstrings_are_many_clean_texts_of_the_standard_library_alone():
    texts = {split: rows("python-docstrings", split).texts("text") for split in builtin.SPLITS}
    assert len(texts["train"]) > 10_000
    assert len(texts["test"]) > 2000
    for text in texts["train"] + texts["test"]:
        assert 4 <= len(text.split()) <= 120
        assert not re.search(r"::=|>>>|\n|\*", text)
    assert not set(texts["train"]) & set(texts["test"])
    assert "Return the arithmetic mean." not in texts["train"] + texts["test"]  # too short, like many first lines
    assert any("calendar" in text for text in texts["train"] + texts["test"])
    modules = {name for name, _ in docstrings.docstrings()}
    assert "unittest.case" in modules
    assert not [name for name in modules if {"site-packages", "test", "tests", "numpy"} & set(name.split("."))]


def test_python_texts_are_both_and_leave_out_what_either_holds_out():
    train = set(rows("python-texts", "train").texts("text"))
    held_out = set(rows("python-texts", "test").texts("text"))
    for name in ("python-docs", "python-docstrings"):
        assert train.isdisjoint(rows(name, "test").texts("text"))
        assert held_out.issuperset(rows(name, "test").texts("text"))
        own = rows(name, "train").texts("text")
        assert len(train.intersection(own)) > 0.9 * len(own)


def test_docstrings_are_of_modules_classes_and_functions(library):
    library(
        **{"zipfile.py": SOURCE, "json/__init__.py": '"The package json has this text."', "json/tests/test_x.py": "("}
    )
    assert docstrings.docstrings() == [
        ("json", ["The package json has this text."]),
        ("zipfile", ["The module.", "A class.", "A method,\nin two lines.", "A coroutine."]),
    ]


def test_a_library_without_source_files_is_refused_with_a_remedy(library):
    folder = library(**{"zipfile.pyc": ""})
    said = (
        f"^{re.escape(str(folder))}: the standard library has no source files\n  fix: use builtin:python-docs, or a Py"
    )
    for read in (docstrings.docstrings, docstrings.sources_digest):
        with pytest.raises(DataError, match=said):
            read()


def test_a_library_that_does_not_parse_is_refused_with_its_file(library):
    library(**{"zipfile.py": "def"})
    with pytest.raises(DataError, match=r"zipfile.py: cannot be read as Python: invalid syntax"):
        docstrings.docstrings()


def test_the_digest_follows_the_librarys_source_files(library):
    def digest(name="python-texts", split="train"):
        return source_digest(Source(source=f"builtin:{name}", split=split), HERE)

    library(**{"zipfile.py": SOURCE})
    before = digest()
    assert digest() == before
    assert len({before, digest(split="test"), digest("python-docstrings")}) == 3
    library(**{"zipfile.py": SOURCE + "# more"})
    assert digest() != before


def test_digits_are_images_and_labels():
    for split, count in (("train", 1347), ("test", 450)):
        found = rows("digits", split, columns=Columns(image="image", label="label"))
        images, labels = found.images("image"), found.labels("label", 10)
        assert images.shape == (count, 1, 8, 8)
        assert (images.min(), images.max()) == (0, 1)
        assert sorted(set(labels)) == list(range(10))


def test_builtins_need_no_columns():
    assert sorted(rows("digits", "test").columns) == ["image", "label"]
    assert list(rows("python-docs", "test").columns) == ["text"]


def test_unknown_names_get_the_nearest():
    with pytest.raises(DataError, match="unknown builtin data 'digit'\n  fix: did you mean 'digits'"):
        rows("digit", "train")
    with pytest.raises(DataError, match="builtin:digits has no split 'dev'\n  fix: use one of train, test"):
        rows("digits", "dev")


def test_the_digest_is_stable_and_tells_splits_apart():
    digests = {
        source_digest(Source(source="builtin:digits", split=split), HERE) for split in ("train", "test", "train")
    }
    assert len(digests) == 2
    assert all(digest.startswith("sha256:") for digest in digests)
