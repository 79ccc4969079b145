"""The phases of distillation, and the training of a small teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from edgeattn.convert import transfer_losses, variants
from edgeattn.distill.batching import Unpadded
from edgeattn.distill.train import Objective, train
from edgeattn.progress import Progress
from edgeattn.recipe.schema import Distill, TrainTeacher
from edgeattn.tasks import Samples, Task


def distill(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    task: Task,
    samples: Samples,
    spec: Distill,
    work: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains `student` in place, first its new attention alone, then all of it. Returns the facts of each phase.

    Both models are trained on the GPU where there is one, and are on the CPU again at the end. work: a folder for
    checkpoints, which a killed run goes on from.
    """
    data = Unpadded(samples, task)
    facts: dict[str, Any] = {}

    def transfer_loss(feeds: Mapping[str, Tensor]) -> Tensor:
        with transfer_losses() as losses:
            task.forward(student, feeds)
        return torch.stack(losses).mean()

    def finetune_loss(feeds: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad():
            target = task.forward(teacher, feeds)
        return task.distillation_loss(task.forward(student, feeds), target, feeds)

    teacher.eval().requires_grad_(False)
    fresh = [parameter for variant in variants(student) for parameter in variant.transfer_parameters()]
    for name, phase, objective in (
        ("transfer", spec.transfer, Objective(student, transfer_loss, masks=task.masks)),
        ("finetune", spec.finetune, Objective(student, finetune_loss, teacher, masks=task.masks)),
    ):
        if phase is None or (name == "transfer" and not fresh):
            continue
        student.requires_grad_(name == "finetune")
        if name == "transfer":
            for parameter in fresh:
                parameter.requires_grad_(True)
        _disable_dropout(student)
        facts[name] = train(
            name,
            objective,
            data,
            work / name,
            steps=phase.steps,
            learning_rate=phase.learning_rate,
            batch_size=phase.batch_size,
            seed=spec.seed,
            checkpoint_every=spec.checkpoint_every,
            progress=progress,
        )
    student.requires_grad_(True).eval()
    return facts


def train_classifier(
    model: PreTrainedModel,
    task: Task,
    samples: Samples,
    spec: TrainTeacher,
    work: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains `model` in place on labelled samples with cross-entropy. Returns the facts of `train`."""

    def loss(feeds: Mapping[str, Tensor]) -> Tensor:
        inputs = {name: feeds[name] for name in task.inputs}
        return cross_entropy(model(**inputs).logits, feeds["label.classes"])

    steps_per_epoch = -(-len(samples["label.classes"]) // spec.batch_size)
    facts = train(
        "teacher",
        Objective(model, loss),
        Unpadded(samples, task, extra=("label.classes",)),
        work,
        steps=spec.epochs * steps_per_epoch,
        learning_rate=spec.learning_rate,
        batch_size=spec.batch_size,
        seed=spec.seed,
        checkpoint_every=200,
        progress=progress,
    )
    model.eval()
    return facts


def _disable_dropout(model: torch.nn.Module) -> None:
    # The student must match the teacher's exact outputs: dropout would teach it noise. The Trainer calls train(), so
    # the rates themselves are set to zero.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
