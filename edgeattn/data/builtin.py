"""Real data sets that need no download."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edgeattn.data.docstrings import docstrings
from edgeattn.errors import DataError
from edgeattn.registry import did_you_mean

# Columns by name. Plain lists and arrays: their digest is needed on every run, and the datasets library loads slowly.
Columns = dict[str, list[str] | np.ndarray]

SPLITS = ("train", "test")
_TEST_SHARE = 0.2
_WORDS = (4, 120)  # shorter texts mean little, longer ones are grammar listings
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z\"“])")


def _held_out(name: str) -> bool:
    """Whether a group of samples is in the test split: by a hash of its name, so that it never moves."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) < _TEST_SHARE * 2**32


def _python_docs(split: str) -> Columns:
    """Sentences and paragraphs of the Python language reference, which every CPython has for `help()`."""
    return _split(_topics(), split)


def _python_docstrings(split: str) -> Columns:
    """Sentences and paragraphs of the docstrings of Python's standard library."""
    return _split(docstrings(), split)


def _python_texts(split: str) -> Columns:
    """Both: first those of the language reference, then those of the docstrings."""
    return _split([*_topics(), *docstrings()], split)


def _topics() -> list[tuple[str, list[str]]]:
    from pydoc_data.topics import topics

    return [(topic, [topics[topic]]) for topic in sorted(topics)]


def _split(groups: Sequence[tuple[str, list[str]]], split: str) -> Columns:
    """The texts of the groups that are in `split`: whole topics and whole modules are held out.

    Some groups repeat parts of others, so the train split also leaves out each paragraph that shares a text with a
    group of the test split.
    """
    texts: dict[str, dict[str, None]] = {"test": {}, "train": {}}  # ordered, without repeats
    for part in texts:
        for passage in (each for name, own in groups if _held_out(name) == (part == "test") for each in own):
            for paragraph in _paragraphs(passage):
                if part == "test" or texts["test"].keys().isdisjoint(paragraph):
                    texts[part].update(dict.fromkeys(paragraph))
    return {"text": list(texts[split])}


def _paragraphs(text: str) -> Iterator[list[str]]:
    """The sentences of each paragraph of prose, and the whole paragraph if it has several."""
    for block in re.split(r"\n\s*\n", text):
        passage = " ".join(block.replace("*", "").split())
        if "::=" in passage or ">>>" in passage or set(passage) <= set("=-*~ "):
            continue
        sentences = _SENTENCE_END.split(passage)
        found = [*sentences, passage] if len(sentences) > 1 else sentences
        yield [each for each in found if _WORDS[0] <= len(each.split()) <= _WORDS[1]]


def _digits(split: str) -> Columns:
    """The 1797 handwritten digits of scikit-learn: 8 x 8 grey images and their labels (UCI, CC BY 4.0)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[:, None]  # [S, 1, 8, 8], 0 to 1
    # Not shuffled: neighbours in the set are often by one writer, who must not be in both splits.
    rows = slice(None, 1347) if split == "train" else slice(1347, None)
    return {"image": images[rows], "label": digits.target[rows]}


BUILTINS: dict[str, Callable[[str], Columns]] = {
    "python-docs": _python_docs,
    "python-docstrings": _python_docstrings,
    "python-texts": _python_texts,
    "digits": _digits,
}
FROM_LIBRARY = ("python-docstrings", "python-texts")  # those that are read from the standard library's source files


def load_builtin(name: str, split: str) -> Columns:
    """The builtin set `name`. Raises DataError for an unknown set or split."""
    if name not in BUILTINS:
        raise DataError(f"unknown builtin data {name!r}", fix=did_you_mean(name, list(BUILTINS)))
    if split not in SPLITS:
        raise DataError(f"builtin:{name} has no split {split!r}", fix=f"use one of {', '.join(SPLITS)}")
    return BUILTINS[name](split)
