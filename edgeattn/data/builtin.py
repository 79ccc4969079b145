"""Two real data sets that need no download."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator

import numpy as np

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
    """Sentences and paragraphs of the Python language reference, which every CPython has for `help()`.

    Whole topics are held out. Some topics repeat parts of others, so the train split also leaves out each paragraph
    that shares a text with a test topic.
    """
    from pydoc_data.topics import topics

    texts: dict[str, dict[str, None]] = {"test": {}, "train": {}}  # ordered, without repeats
    for part, own in texts.items():
        for topic in sorted(topic for topic in topics if _held_out(topic) == (part == "test")):
            for paragraph in _paragraphs(topics[topic]):
                if part == "test" or texts["test"].keys().isdisjoint(paragraph):
                    own.update(dict.fromkeys(paragraph))
    return {"text": list(texts[split])}


def _paragraphs(topic: str) -> Iterator[list[str]]:
    """The sentences of each paragraph of prose, and the whole paragraph if it has several."""
    for block in re.split(r"\n\s*\n", topic):
        passage = " ".join(block.replace("*", "").split())
        if "::=" in passage or ">>>" in passage or set(passage) <= set("=-*~ "):
            continue
        sentences = _SENTENCE_END.split(passage)
        found = [*sentences, passage] if len(sentences) > 1 else sentences
        yield [text for text in found if _WORDS[0] <= len(text.split()) <= _WORDS[1]]


def _digits(split: str) -> Columns:
    """The 1797 handwritten digits of scikit-learn: 8 x 8 grey images and their labels (UCI, CC BY 4.0)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[:, None]  # [S, 1, 8, 8], 0 to 1
    # Not shuffled: neighbours in the set are often by one writer, who must not be in both splits.
    rows = slice(None, 1347) if split == "train" else slice(1347, None)
    return {"image": images[rows], "label": digits.target[rows]}


BUILTINS: dict[str, Callable[[str], Columns]] = {"python-docs": _python_docs, "digits": _digits}


def load_builtin(name: str, split: str) -> Columns:
    """The builtin set `name`. Raises DataError for an unknown set or split."""
    if name not in BUILTINS:
        raise DataError(f"unknown builtin data {name!r}", fix=did_you_mean(name, list(BUILTINS)))
    if split not in SPLITS:
        raise DataError(f"builtin:{name} has no split {split!r}", fix=f"use one of {', '.join(SPLITS)}")
    return BUILTINS[name](split)
