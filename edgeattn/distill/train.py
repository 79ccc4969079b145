"""One phase of training with `transformers.Trainer`: resumable, watched for NaN, with progress."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import SAFE_WEIGHTS_NAME

from edgeattn.distill.batching import Unpadded, collate
from edgeattn.distill.curve import Curve
from edgeattn.errors import TrainingError
from edgeattn.progress import Progress
from edgeattn.store import write_json

LOG = logging.getLogger("edgeattn")
_COMPLETE = "complete.json"  # the last file of a checkpoint to be written: without it, the checkpoint was cut off


class Objective(nn.Module):
    """A student in training and the loss of a batch, in the form that the Trainer calls.

    teacher: a model that `loss` uses. It goes to the device of the student, but into no checkpoint.
    masks: the feeds that tell content from padding.
    """

    def __init__(
        self,
        student: nn.Module,
        loss: Callable[..., Tensor],
        teacher: nn.Module | None = None,
        masks: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.student = student
        self._loss = loss
        self._masks = masks
        self._unsaved = () if teacher is None else (teacher,)  # a tuple hides it from state_dict()
        self.last = float("nan")
        self.tokens = 0  # attended, without padding

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Objective:
        # The one function behind to(), cpu() and cuda(). The Trainer moves the objective alone.
        for module in self._unsaved:
            module._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def forward(self, **feeds: Tensor) -> dict[str, Tensor]:
        loss = self._loss(feeds)
        self.last = loss.item()
        self.tokens += sum(int((feeds[mask] != 0).sum()) for mask in self._masks)
        if not torch.isfinite(loss):
            raise _NotFiniteError("the loss is not finite")
        return {"loss": loss}


class GroupingTrainer(Trainer):
    """A Trainer whose batches hold samples of similar length, whatever their inputs are called."""

    train_dataset: Unpadded

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        lengths = self.train_dataset.lengths
        if lengths is None:
            return super()._get_train_sampler(train_dataset)
        return LengthGroupedSampler(self.args.train_batch_size, lengths=lengths.tolist())


class _NotFiniteError(ArithmeticError):
    pass


class _Watch(TrainerCallback):
    """Shows progress, keeps the curve, and stops before gradients that are not finite spoil the weights."""

    def __init__(self, phase: str, objective: Objective, curve: Curve, progress: Progress | None) -> None:
        self._phase = phase
        self._objective = objective
        self._curve = curve
        self._progress = progress
        self._started = time.monotonic()
        self._first: int | None = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        for name, parameter in self._objective.named_parameters():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                raise _NotFiniteError(f"the gradient of {name} is not finite")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._curve.add(state.global_step, self._objective.last)
        if self._first is None:
            self._first = state.global_step - 1
        rate = (state.global_step - self._first) / (time.monotonic() - self._started)
        if self._progress:
            facts = {"loss": self._objective.last, "steps/s": round(rate, 2)}
            self._progress.update(state.global_step, state.max_steps, self._phase, **facts)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        facts = {"step": state.global_step, "loss": self._objective.last, "tokens": self._objective.tokens}
        facts["curve"] = self._curve.state
        write_json(folder / _COMPLETE, facts)  # whole or not at all: a kill in between leaves no empty file


def train(
    phase: str,
    objective: Objective,
    samples: Unpadded,
    work: Path,
    *,
    steps: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    checkpoint_every: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains the objective's parameters that require gradients, for `steps` steps, on the GPU where there is one.

    phase: its name in messages. Checkpoints go to `work`; training goes on from the newest whole one there.
    Returns {"steps", "resumed_from", "seconds", "tokens", "loss", "curve"}, with the models back on their device; the
    curve is `Curve.points`. Raises TrainingError where loss or gradients become NaN or infinite.
    """
    curve = Curve(steps)
    home = next(objective.parameters()).device
    resume = _newest_whole(work)
    if resume is not None:
        before = json.loads((resume / _COMPLETE).read_text())
        objective.last, objective.tokens = before["loss"], before["tokens"]
        curve = Curve(steps, before.get("curve", ()))  # a checkpoint of an older version has none
        LOG.info("%s goes on from its checkpoint at step %d of %d", phase, before["step"], steps)
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 20),
        weight_decay=0.0,
        per_device_train_batch_size=batch_size,
        seed=seed,
        data_seed=seed,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="steps",
        save_steps=checkpoint_every,
        save_total_limit=2,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    if arguments.n_gpu > 1:  # the loss computes with the student itself, not with DataParallel's copies of it
        arguments._n_gpu = 1
    trainer = GroupingTrainer(
        model=objective,
        args=arguments,
        train_dataset=samples,
        data_collator=collate,
        callbacks=[_Watch(phase, objective, curve, progress)],
    )
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    try:
        if resume is not None and before["step"] >= steps:
            load_model(objective, str(resume / SAFE_WEIGHTS_NAME))  # the Trainer would do a step too many
        else:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except _NotFiniteError as error:
        last = _newest_whole(work)
        good = f"step {last.name.rpartition('-')[2]}" if last else "none yet"
        raise TrainingError(
            f"{error} at step {trainer.state.global_step + 1} of {steps}; last good checkpoint: {good}",
            fix="lower the learning rate of this phase, or check the data",
        ) from error
    objective.to(home)  # what follows runs it on arrays
    return {
        "steps": steps,
        "resumed_from": before["step"] if resume else None,
        "seconds": round(time.monotonic() - started, 3),
        "tokens": objective.tokens,
        "loss": objective.last,
        "curve": curve.points,
    }


def _newest_whole(work: Path) -> Path | None:
    """The newest whole checkpoint; those that were cut off are removed."""
    whole = []
    for folder in work.glob("checkpoint-*"):
        if (folder / _COMPLETE).is_file():
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    return max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]), default=None)
