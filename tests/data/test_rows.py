"""Columns are checked whole; an error names the source, the row and the column."""

from __future__ import annotations

import numpy as np
import pytest

from edgeattn.data.rows import Rows
from edgeattn.errors import DataError

IMAGE = [[[0, 1], [1, 0]]]


def refusal(method, column, *arguments):
    with pytest.raises(DataError) as caught:
        getattr(Rows({"x": column}, "a.jsonl"), method)("x", *arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["a", {"b": 1}], "a.jsonl, row 2: x is a mapping, not a text\n  fix: give a text in every row"),
        ([5, "a", 6], "a.jsonl, row 1: x is the number 5, not a text; 2 of 3 rows are wrong\n"),
        (["a", ["b"]], "a.jsonl, row 2: x is a list, not a text\n"),
        (["a", True], "a.jsonl, row 2: x is true, not a text\n"),
        (["a", None], "a.jsonl, row 2: x is missing\n"),
        (["a", " \t"], "a.jsonl, row 2: x is blank\n"),
    ],
)
def test_texts(column, said):
    assert refusal("texts", column).startswith(said)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([1, float("nan")], "a.jsonl, row 2: x is the number nan, not a finite number\n  fix: give a finite number"),
        (np.array([1, np.inf, np.nan]), "a.jsonl, row 2: x is the number inf, not a finite number; 2 of 3 rows are"),
        ([1, "high"], "a.jsonl, row 2: x is the text 'high', not a finite number\n"),
        ([1, None], "a.jsonl, row 2: x is nothing, not a finite number\n"),
        ([1, True], "a.jsonl, row 2: x is true, not a finite number\n"),
    ],
)
def test_scores(column, said):
    assert refusal("scores", column).startswith(said)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ([0, 0.5], "a.jsonl, row 2: x is the number 0.5, not a whole number\n  fix: number the classes from 0 to 2"),
        ([0, 3, -1], "a.jsonl, row 2: x 3 is outside the task's 3 labels; 2 of 3 rows are wrong\n"),
        (np.array([0, -1]), "a.jsonl, row 2: x -1 is outside the task's 3 labels\n"),
        ([0, "cat"], "a.jsonl, row 2: x is the text 'cat', not a whole number\n"),
        ([0, float("nan")], "a.jsonl, row 2: x is the number nan, not a whole number\n"),
        ([0, True], "a.jsonl, row 2: x is true, not a whole number\n"),
    ],
)
def test_labels(column, said):
    assert refusal("labels", column, 3).startswith(said)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (
            [IMAGE, [[[0, 1]]]],
            "a.jsonl, row 2: x has shape [1, 1, 2], the first has [1, 2, 2]\n  fix: give nested lists",
        ),
        ([IMAGE, [[[0, 1], [1]]]], "a.jsonl, row 2: x is not an array of numbers\n"),
        ([IMAGE, [[["a", "b"], ["c", "d"]]]], "a.jsonl, row 2: x is not an array of numbers\n"),
        ([IMAGE, None], "a.jsonl, row 2: x is not an array of numbers\n"),
        ([IMAGE, {"bytes": b"PNG"}], "a.jsonl, row 2: x is not an array of numbers\n"),
        ([IMAGE, [[[0, float("nan")], [1, 0]]]], "a.jsonl, row 2: x holds a value that is not a finite number\n"),
        (
            np.array([IMAGE, np.full((1, 2, 2), np.inf)]),
            "a.jsonl, row 2: x holds a value that is not a finite number\n",
        ),
        ([[[0, 1], [1, 0]]], "a.jsonl, row 1: x has shape [2, 2], not [channels, height, width]\n"),
    ],
)
def test_images(column, said):
    assert refusal("images", column).startswith(said)


def test_sound_columns_come_out_with_their_type():
    rows = Rows({"text": ["a"], "score": [1], "label": [2.0], "image": [IMAGE]})
    assert len(rows) == 1
    assert "text" in rows
    assert "text_pair" not in rows
    assert rows.texts("text") == ["a"]
    assert (rows.scores("score").dtype, rows.scores("score").tolist()) == (np.float64, [1.0])
    assert (rows.labels("label", 3).dtype, rows.labels("label", 3).tolist()) == (np.int64, [2])
    assert (rows.images("image").dtype, rows.images("image").shape) == (np.float32, (1, 1, 2, 2))


def test_rows_of_a_part_have_the_numbers_of_the_whole():
    rows = Rows({"text": ["a", ""]}, "a.txt", numbers=[1, 70])
    with pytest.raises(DataError, match=r"^a\.txt, row 70: text is blank\n"):
        rows.texts("text")


def test_a_column_that_is_absent_is_named():
    with pytest.raises(DataError, match=r"^a\.csv: no column 'label'\n  fix: name it: columns: \{label: \.\.\.\}"):
        Rows({"text": ["a"]}, "a.csv").labels("label", 2)
