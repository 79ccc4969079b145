"""What tasks that choose among classes share: the distance of two choices, and a model of other classes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import PreTrainedModel

from edgeattn.errors import InputError, RecipeError
from edgeattn.yamlfile import Place


def classes_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean Kullback-Leibler divergence of the student's classes from the teacher's. Logits, [B, C] each."""
    return kl_div(log_softmax(student, -1), log_softmax(teacher, -1), log_target=True, reduction="batchmean")


def labels_misfit(model: PreTrainedModel, labels: int) -> Iterator[tuple[Place, InputError]]:
    """A finding where the model has another number of classes than the recipe."""
    if model.config.num_labels != labels:
        fact = f"{labels} labels, and the model has {model.config.num_labels}"
        yield ("task", "labels"), RecipeError(fact, fix=f"use {model.config.num_labels}")
