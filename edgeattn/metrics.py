"""Metrics in numpy, so that a device can score an engine without torch, scipy or scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeattn.errors import DataError
from edgeattn.validation import Part

Array = NDArray[np.generic]


class Metric(Part):
    """A metric that `score` gives."""

    name: str
    higher_is_better: bool


# The metrics of each task. A recipe that names none means the first that its data allows.
METRICS: dict[str, tuple[Metric, ...]] = {
    "text-embedding": (
        Metric(name="spearman", higher_is_better=True),
        Metric(name="teacher_cosine", higher_is_better=True),
        Metric(name="teacher_top10_overlap", higher_is_better=True),
    ),
    "image-classification": (
        Metric(name="accuracy", higher_is_better=True),
        Metric(name="teacher_agreement", higher_is_better=True),
    ),
}
NEEDS = {"spearman": "gold", "accuracy": "label"}  # metric -> the array of eval.npz without which it has no value


def _unit_rows(values: ArrayLike) -> NDArray[np.float64]:
    """[N, D] with every row scaled to length 1; a row of zeros stays zero, so its cosine with everything is 0."""
    rows = np.asarray(values, dtype=np.float64)
    rows = rows.reshape(len(rows), -1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))


def row_cosines(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each row of a with the same row of b. a, b: [N, ...] -> [N]."""
    return np.asarray(np.sum(_unit_rows(a) * _unit_rows(b), axis=1))


def mean_cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Mean cosine of matching rows. a, b: [N, D]."""
    return float(row_cosines(a, b).mean())


def top_k_overlap(a: ArrayLike, b: ArrayLike, k: int = 10) -> float:
    """Share of each row's k nearest other rows by cosine that a and b agree on. a, b: [N, D].

    k is at most half of the other rows: with N <= k every other row would be a neighbour, whatever a and b are.
    Raises DataError for fewer than 3 rows.
    """
    count = len(np.asarray(a))
    if count < 3:
        raise DataError(f"{count} samples have too few nearest neighbours", fix="evaluate on at least 3 samples")
    k = min(k, (count - 1) // 2)
    near_a, near_b = (_nearest(values, k) for values in (a, b))
    shared = sum(len(np.intersect1d(x, y, assume_unique=True)) for x, y in zip(near_a, near_b, strict=True))
    return shared / (count * k)


def _nearest(values: ArrayLike, k: int) -> NDArray[np.intp]:
    rows = _unit_rows(values)
    similarity = rows @ rows.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1; tied values share their average rank. values: [N] -> [N]."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.reshape(-1)])


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation with average ranks for ties. x, y: [N]. NaN where either is constant."""
    a, b = (ranks(values) - (np.asarray(values).size + 1) / 2 for values in (x, y))
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Share of rows whose largest logit is at the label. logits: [N, C], labels: [N]."""
    return float(np.mean(np.argmax(np.asarray(logits), axis=-1) == np.asarray(labels)))


def agreement(logits_a: ArrayLike, logits_b: ArrayLike) -> float:
    """Share of rows where both have their largest logit at the same class. logits: [N, C]."""
    return accuracy(logits_a, np.argmax(np.asarray(logits_b), axis=-1))


def score(task_kind: str, outputs: Mapping[str, Array], evaluation: Mapping[str, Array]) -> dict[str, float]:
    """The metrics of a task on `outputs` (name -> [S, ...]) against the arrays of eval.npz.

    A metric is left out if `evaluation` lacks what it needs (gold scores, labels), and NaN if it has no value (rank
    correlation of constant outputs). Raises DataError where outputs and evaluation do not fit each other.
    """
    if task_kind not in _SCORES:
        raise DataError(f"no metrics for task {task_kind!r}", fix=f"known: {', '.join(_SCORES)}")
    name, compute = _SCORES[task_kind]
    for arrays, key in ((outputs, name), (evaluation, f"teacher.{name}")):
        if key not in arrays:
            raise DataError(f"{task_kind} is scored on {key!r}, which is missing; found: {sorted(arrays)}")
    ours, teacher = outputs[name], evaluation[f"teacher.{name}"]
    if ours.shape != teacher.shape:
        raise DataError(f"{name} has shape {list(ours.shape)}, the teacher's has {list(teacher.shape)}")
    return compute(ours, teacher, evaluation)


def _score_embedding(ours: Array, teacher: Array, evaluation: Mapping[str, Array]) -> dict[str, float]:
    scores = {}
    if "gold" in evaluation:
        left, right = np.asarray(evaluation["pairs"]).T
        scores["spearman"] = spearman(row_cosines(ours[left], ours[right]), evaluation["gold"])
    scores["teacher_cosine"] = mean_cosine(ours, teacher)
    scores["teacher_top10_overlap"] = top_k_overlap(ours, teacher, 10)
    return scores


def _score_classes(ours: Array, teacher: Array, evaluation: Mapping[str, Array]) -> dict[str, float]:
    scores = {}
    if "label" in evaluation:
        scores["accuracy"] = accuracy(ours, evaluation["label"])
    scores["teacher_agreement"] = agreement(ours, teacher)
    return scores


_Score = Callable[[Array, Array, Mapping[str, Array]], dict[str, float]]
_SCORES: dict[str, tuple[str, _Score]] = {
    "text-embedding": ("sentence_embedding", _score_embedding),
    "image-classification": ("logits", _score_classes),
}
