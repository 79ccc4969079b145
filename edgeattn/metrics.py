"""Metrics in numpy, so that a device can score an engine without torch, scipy or scikit-learn.

A metric compares what is kept of a model's outputs with the same of the teacher's, with labels and with the inputs.
Those are arrays by name, [S, ...] each: `input.<name>`, `label.<name>` and `reference.<name>` (the teacher's), as
eval.npz holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeattn.errors import DataError

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]
_REFERENCE = "reference."
PAIRS = "label.pairs"  # [P, 2], rows of samples: a metric that needs it scores pairs, any other scores samples


@dataclass(frozen=True)
class Kept:
    """What metrics are computed from: an output as it is, or what is kept of one too large to store for every sample.

    dims: names of axes, None for a size that the model decides; the first is the batch.
    of: (outputs, inputs) of a batch by name -> [B, ...]; None: the output that is called `name`.
    """

    name: str
    dims: tuple[str | None, ...]
    of: Callable[[Arrays, Arrays], Array] | None = None

    @property
    def reference(self) -> str:
        """What the same of the teacher is called in eval.npz."""
        return f"{_REFERENCE}{self.name}"

    def __call__(self, outputs: Arrays, inputs: Arrays) -> Array:
        """The kept array of a batch. Raises DataError where the output is missing."""
        if self.of is not None:
            return self.of(outputs, inputs)
        if self.name not in outputs:
            raise DataError(f"the output {self.name!r} is missing; found: {sorted(outputs)}")
        return outputs[self.name]


@dataclass(frozen=True)
class Metric:
    """A number by which a model is judged.

    kept: what it is computed from. needs: the arrays of eval.npz that this is compared with; it has no value without.
    function: (the kept array, those that it needs in their order) -> value.
    unit: for reports; None: a share, a cosine or a correlation. nan: what is true of data on which it has no value.
    """

    name: str
    higher_is_better: bool
    kept: Kept
    function: Callable[..., float]
    needs: tuple[str, ...]
    unit: str | None = None
    nan: str = "it is not defined there"


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


def macro_f1(logits: ArrayLike, labels: ArrayLike) -> float:
    """The mean F1 of all classes that are labelled or chosen, each counting alike. logits: [N, C], labels: [N]."""
    chosen, labels = np.argmax(np.asarray(logits), axis=-1), np.asarray(labels)
    classes = np.union1d(chosen, labels)
    right = np.array([np.sum((chosen == each) & (labels == each)) for each in classes])
    named = np.array([np.sum(chosen == each) + np.sum(labels == each) for each in classes])
    return float(np.mean(2 * right / named))


def next_token_losses(outputs: Arrays, inputs: Arrays) -> Array:
    """The cross-entropy of each next token, 0 where none follows: [B, N] float32, in nats.

    outputs: logits [B, N, V]; inputs: input_ids and attention_mask [B, N], padded on the right.
    """
    logits, ids = np.asarray(outputs["logits"], np.float32)[:, :-1], inputs["input_ids"][:, 1:]
    largest = logits.max(axis=-1)
    scale = np.log(np.exp(logits - largest[..., None]).sum(axis=-1)) + largest
    chosen = np.take_along_axis(logits, ids[..., None].astype(np.int64), axis=-1)[..., 0]
    losses = np.where(_followed(inputs["attention_mask"])[:, :-1], scale - chosen, 0)
    return np.pad(losses, ((0, 0), (0, 1))).astype(np.float32)


def likeliest_tokens(outputs: Arrays, inputs: Arrays) -> Array:
    """The token with the largest logit after each token, 0 in padding: [B, N] int64; see `next_token_losses`."""
    return np.where(inputs["attention_mask"] != 0, np.argmax(outputs["logits"], axis=-1), 0)


def _followed(mask: Array) -> NDArray[np.bool_]:
    """[B, N]: whether the mask [B, N] shows another token after this one."""
    return np.pad(np.asarray(mask)[:, 1:] != 0, ((0, 0), (0, 1)))


def perplexity(losses: ArrayLike, mask: Array) -> float:
    """exp of the mean loss over all tokens that follow another. losses, mask: [S, N]. NaN where there are none."""
    count = _followed(mask).sum()
    return float(np.exp(np.sum(losses, dtype=np.float64) / count)) if count else float("nan")


def next_token_accuracy(likeliest: Array, ids: Array, mask: Array) -> float:
    """Share of the tokens that follow another which were the likeliest there. [S, N] each. NaN where there are none."""
    followed = _followed(mask)
    right = (likeliest[:, :-1] == ids[:, 1:]) & followed[:, :-1]
    return float(right.sum() / followed.sum()) if followed.any() else float("nan")


def token_agreement(likeliest: Array, others: Array, mask: Array) -> float:
    """Share of places where both find the same token the likeliest. [S, N] each."""
    return float(np.mean((likeliest == others)[np.asarray(mask) != 0]))


_EMBEDDING = Kept("sentence_embedding", ("batch", None))
_LOGITS = Kept("logits", ("batch", None))
# A language model's logits are [S, N, V]: gigabytes for a few hundred texts.
_LOSSES = Kept("next_token_losses", ("batch", "sequence"), next_token_losses)
_LIKELIEST = Kept("likeliest_tokens", ("batch", "sequence"), likeliest_tokens)
_IDS, _MASK = "input.input_ids", "input.attention_mask"
_SHORT = "no text has two tokens"


def gold_correlation(embeddings: Array, pairs: Array, gold: Array) -> float:
    """Spearman's correlation of the cosines of pairs with gold similarities.

    embeddings: [S, D]; pairs: [P, 2], rows of embeddings; gold: [P].
    """
    left, right = np.asarray(pairs).T
    return spearman(row_cosines(embeddings[left], embeddings[right]), gold)


# The metrics of each task. A recipe that names none means the first that its data allows.
METRICS: dict[str, tuple[Metric, ...]] = {
    "text-embedding": (
        Metric(
            "spearman", True, _EMBEDDING, gold_correlation, needs=(PAIRS, "label.scores"),
            nan="all of its scores are the same",
        ),
        Metric("teacher_cosine", True, _EMBEDDING, mean_cosine, needs=(_EMBEDDING.reference,)),
        Metric("teacher_top10_overlap", True, _EMBEDDING, top_k_overlap, needs=(_EMBEDDING.reference,)),
    ),
    "text-classification": (
        Metric("accuracy", True, _LOGITS, accuracy, needs=("label.classes",)),
        Metric("macro_f1", True, _LOGITS, macro_f1, needs=("label.classes",)),
        Metric("teacher_agreement", True, _LOGITS, agreement, needs=(_LOGITS.reference,)),
    ),
    "text-generation": (
        Metric("perplexity", False, _LOSSES, perplexity, needs=(_MASK,), unit="per token", nan=_SHORT),
        Metric("next_token_accuracy", True, _LIKELIEST, next_token_accuracy, needs=(_IDS, _MASK), nan=_SHORT),
        Metric("teacher_agreement", True, _LIKELIEST, token_agreement, needs=(_LIKELIEST.reference, _MASK)),
    ),
    "image-classification": (
        Metric("accuracy", True, _LOGITS, accuracy, needs=("label.classes",)),
        Metric("teacher_agreement", True, _LOGITS, agreement, needs=(_LOGITS.reference,)),
    ),
}  # fmt: skip


def metrics_of(kind: str) -> tuple[Metric, ...]:
    """The metrics of a task. Raises DataError for an unknown one."""
    if kind not in METRICS:
        raise DataError(f"no metrics for task {kind!r}", fix=f"known: {', '.join(METRICS)}")
    return METRICS[kind]


def metric_names(kind: str) -> list[str]:
    """The names of a task's metrics. Raises DataError for an unknown task."""
    return [metric.name for metric in metrics_of(kind)]


def metric(kind: str, name: str) -> Metric:
    """One metric of a task. Raises DataError for an unknown one."""
    for found in metrics_of(kind):
        if found.name == name:
            return found
    raise DataError(f"{name!r} is not a metric of {kind}", fix=f"known: {', '.join(metric_names(kind))}")


def kept_arrays(kind: str) -> tuple[Kept, ...]:
    """What the metrics of a task need of outputs, each once."""
    return tuple(dict.fromkeys(metric.kept for metric in metrics_of(kind)))


def keep(kind: str, outputs: Arrays, inputs: Arrays) -> dict[str, Array]:
    """What the metrics of a task need of a batch's outputs, on its inputs: name -> [B, ...]."""
    return {kept.name: kept(outputs, inputs) for kept in kept_arrays(kind)}


def references(arrays: Arrays) -> dict[str, Array]:
    """What was kept of the teacher's outputs: the arrays `reference.<name>`, by name."""
    return {name.removeprefix(_REFERENCE): array for name, array in arrays.items() if name.startswith(_REFERENCE)}


def allowed(kind: str, arrays: Arrays) -> tuple[Metric, ...]:
    """The metrics of a task that have what they need among `arrays`."""
    return tuple(metric for metric in metrics_of(kind) if set(metric.needs) <= set(arrays))


def score(kind: str, kept: Arrays, arrays: Arrays) -> dict[str, float]:
    """The metrics of a task on what `keep` kept of all samples, against the arrays of eval.npz.

    A metric is left out if `arrays` lacks what it needs (labels), and NaN if it has no value (rank correlation of
    constant outputs). Raises DataError where the two do not fit each other.
    """
    for each in kept_arrays(kind):
        for found, key in ((kept, each.name), (arrays, each.reference)):
            if key not in found:
                raise DataError(f"{kind} is scored on {key!r}, which is missing; found: {sorted(found)}")
        ours, theirs = kept[each.name].shape, arrays[each.reference].shape
        if ours != theirs:
            raise DataError(f"{each.name} has shape {list(ours)}, the teacher's has {list(theirs)}")
    return {
        metric.name: metric.function(kept[metric.kept.name], *(arrays[key] for key in metric.needs))
        for metric in allowed(kind, arrays)
    }
