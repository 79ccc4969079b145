"""Training of tiny models: it learns, only what it should, and it survives kills and numbers that are not finite.

A whole compile that is killed with SIGKILL is in tests/e2e/test_compile.py.
"""

from __future__ import annotations

import copy
import json
import logging
import re
import shutil

import numpy as np
import pytest
import tiny_models
import torch

from edgeattn.convert import Choice, convert, variants
from edgeattn.distill import distill, train_classifier
from edgeattn.distill import train as train_module
from edgeattn.errors import TrainingError
from edgeattn.recipe.schema import Distill, Phase, TrainTeacher

PLAN = (Choice(0, "hedgehog", {}), Choice(1, "sliding_window", {"window": 4, "global_tokens": 1}))


def phase(steps, learning_rate=1e-2):
    return Phase(steps=steps, learning_rate=learning_rate, batch_size=8)


def spec(transfer=None, finetune=None, **options):
    return Distill(transfer=transfer, finetune=finetune, **options)


@pytest.fixture
def text(tmp_path):
    """(student, teacher, task, samples)"""
    task = tiny_models.text_task(tmp_path / "teacher")
    student, feeds = tiny_models.make("bert", layers=2)
    convert(student, PLAN, feeds)
    samples = task.encode(tiny_models.text_rows(64), held_out=False)
    return student, tiny_models.make("bert", layers=2)[0], task, samples


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def distance(text):
    student, teacher, task, samples = text
    feeds = task.collate(samples, slice(0, 32))
    with torch.no_grad():
        ours, theirs = task.forward(student, feeds), task.forward(teacher, feeds)
        return float(task.distillation_loss(ours, theirs, feeds))


def test_transfer_trains_the_new_parameters_alone(text, tmp_path):
    student = text[0]
    before = state(student)
    facts = distill(*text, spec(transfer=phase(6)), tmp_path / "work")
    assert list(facts) == ["transfer"]
    for name, tensor in student.state_dict().items():
        new = name.endswith(("query_map", "key_map"))
        assert torch.equal(tensor, before[name]) is not new, name
    assert not student.training
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_both_phases_bring_the_student_nearer(text, tmp_path):
    start = distance(text)
    teacher = state(text[1])
    facts = distill(*text, spec(phase(15), phase(25, 5e-3)), tmp_path / "work")
    assert distance(text) < start / 2
    assert list(facts) == ["transfer", "finetune"]
    assert [facts[name]["steps"] for name in facts] == [15, 25]
    assert facts["finetune"]["resumed_from"] is None
    assert facts["finetune"]["tokens"] > 0
    assert np.isfinite(facts["finetune"]["loss"])
    assert all(torch.equal(tensor, teacher[name]) for name, tensor in text[1].state_dict().items())


def test_a_student_without_new_parameters_has_no_transfer(tmp_path):
    task = tiny_models.text_task(tmp_path / "teacher")
    student, feeds = tiny_models.make("bert", layers=2)
    convert(student, PLAN[1:], feeds)
    samples = task.encode(tiny_models.text_rows(16), held_out=False)
    teacher = tiny_models.make("bert", layers=2)[0]
    assert distill(student, teacher, task, samples, spec(transfer=phase(3)), tmp_path / "work") == {}


def test_the_same_seed_gives_the_same_student(text, tmp_path):
    first, second = text[0], copy.deepcopy(text[0])
    distill(first, *text[1:], spec(phase(3), phase(3)), tmp_path / "one")
    distill(second, *text[1:], spec(phase(3), phase(3)), tmp_path / "two")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_teacher_goes_where_the_student_goes_and_into_no_checkpoint(text):
    student, teacher = text[:2]
    objective = train_module.Objective(student, lambda feeds: None, teacher)
    objective.to("meta")
    assert {tensor.device.type for model in (student, teacher) for tensor in model.state_dict().values()} == {"meta"}
    assert not any("teacher" in name for name in objective.state_dict())
    assert len(objective.state_dict()) == len(student.state_dict())
    assert len(list(objective.parameters())) == len(list(student.parameters()))


def test_both_models_are_on_the_trainers_device_in_training_and_on_their_own_after(text, tmp_path, monkeypatch):
    """There may be no GPU here: double precision stands for its device, which the Trainer moves the models to."""
    student, teacher, task, samples = text
    moved, seen = [], []
    to, forward = train_module.Objective.to, task.forward

    class Elsewhere(train_module.GroupingTrainer):
        def __init__(self, *arguments, model, **named):
            to(model, torch.float64)
            super().__init__(*arguments, model=model, **named)

    def spy(self, *arguments, **named):
        moved.append(arguments)
        return to(self, *arguments, **named)

    def watched(model, feeds):
        seen.append((model is teacher, next(model.parameters()).dtype))
        return forward(model, feeds)

    monkeypatch.setattr(train_module, "GroupingTrainer", Elsewhere)
    monkeypatch.setattr(train_module.Objective, "to", spy)
    monkeypatch.setattr(task, "forward", watched)
    distill(student, teacher, task, samples, spec(finetune=phase(2)), tmp_path / "work")
    assert set(seen) == {(True, torch.float64), (False, torch.float64)}
    assert moved[-1] == (torch.device("cpu"),)


def killed_after(monkeypatch, steps):
    """Training stops as if killed, once so many steps are done in all phases together."""
    done = iter(range(steps))
    on_step_end = train_module._Watch.on_step_end

    def stop(self, *arguments, **named):
        on_step_end(self, *arguments, **named)
        if next(done, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_module._Watch, "on_step_end", stop)


def test_goes_on_from_its_last_checkpoint(text, tmp_path, monkeypatch, caplog):
    whole, killed, again = text[0], copy.deepcopy(text[0]), copy.deepcopy(text[0])
    plan = spec(phase(4), phase(10), checkpoint_every=2)
    expected = distill(whole, *text[1:], plan, tmp_path / "whole")
    work = tmp_path / "work"
    with monkeypatch.context() as patched:
        killed_after(patched, 4 + 5)
        with pytest.raises(KeyboardInterrupt):
            distill(killed, *text[1:], plan, work)
    caplog.set_level(logging.INFO, "edgeattn")
    facts = distill(again, *text[1:], plan, work)
    assert facts["transfer"]["resumed_from"] == 4  # it was done already: nothing is trained again
    assert facts["finetune"]["resumed_from"] == 4
    assert [record.message for record in caplog.records if record.name == "edgeattn"] == [
        "transfer goes on from its checkpoint at step 4 of 4",
        "finetune goes on from its checkpoint at step 4 of 10",
    ]
    # What a finished phase cannot find out again comes from its checkpoint.
    for fact in ("loss", "tokens", "steps", "curve"):
        assert facts["transfer"][fact] == expected["transfer"][fact]
    # The Trainer draws the order of the epoch that was cut off anew, so the end is near, not the same.
    assert facts["finetune"]["tokens"] == pytest.approx(expected["finetune"]["tokens"], rel=0.3)
    json.dumps(facts, allow_nan=False)
    ends = [distance((student, *text[1:])) for student in (whole, again, killed)]
    assert ends[1] == pytest.approx(ends[0], rel=0.3)
    assert ends[2] > ends[1]


def test_a_checkpoint_cut_off_by_a_kill_is_ignored(text, tmp_path, caplog):
    work = tmp_path / "work"
    plan = spec(finetune=phase(6), checkpoint_every=2)
    distill(copy.deepcopy(text[0]), *text[1:], plan, work)
    newest, before = (work / "finetune" / f"checkpoint-{step}" for step in (6, 4))
    (newest / "complete.json").unlink()
    (newest / "model.safetensors").write_bytes(b"torn")
    shutil.copytree(before, work / "finetune" / "checkpoint-8")
    (work / "finetune" / "checkpoint-8" / "complete.json").unlink()
    caplog.set_level(logging.INFO, "edgeattn")
    facts = distill(text[0], *text[1:], plan, work)
    assert facts["finetune"]["resumed_from"] == 4
    assert "finetune goes on from its checkpoint at step 4 of 6" in caplog.messages


def test_a_loss_that_is_not_finite_stops_at_the_last_good_checkpoint(text, tmp_path, monkeypatch):
    student, teacher, task, samples = text
    distillation_loss, calls = type(task).distillation_loss, iter(range(100))

    def spoilt(self, *arguments):
        return distillation_loss(self, *arguments) * (float("inf") if next(calls) == 4 else 1)

    monkeypatch.setattr(type(task), "distillation_loss", spoilt)
    with pytest.raises(TrainingError) as caught:
        distill(student, teacher, task, samples, spec(finetune=phase(9), checkpoint_every=2), tmp_path / "work")
    assert caught.value.fact == "the loss is not finite at step 5 of 9; last good checkpoint: step 4"
    assert caught.value.fix == "lower the learning rate of this phase, or check the data"
    assert caught.value.exit_code == 5


def test_inputs_that_are_not_finite_stop_at_the_first_step(tmp_path):
    samples = tiny_models.images(32)
    samples["pixel_values"] = samples["pixel_values"] * np.float32(np.inf)
    model = tiny_models.make("vit", layers=1)[0]
    before = state(model)
    teach = TrainTeacher(epochs=1, batch_size=8, learning_rate=1e-3)
    with pytest.raises(TrainingError, match="the loss is not finite at step 1 of 4; last good checkpoint: none yet"):
        train_classifier(model, tiny_models.image_task(tmp_path), samples, teach, tmp_path / "work")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_gradient_that_is_not_finite_is_named_before_it_spoils_the_weights(text, tmp_path, monkeypatch):
    student, teacher, task, samples = text
    before = state(student)
    parameter = variants(student)[0].query_map
    parameter.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError) as caught:
        distill(student, teacher, task, samples, spec(transfer=phase(4)), tmp_path / "work")
    assert re.match(
        r"the gradient of student\.encoder\.layer\.0\..*query_map is not finite at step 1 of 4; last good",
        str(caught.value),
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_a_new_teacher_learns(tmp_path):
    model, task, samples = (
        tiny_models.make("vit", layers=1)[0],
        tiny_models.image_task(tmp_path),
        tiny_models.images(64),
    )
    teach = TrainTeacher(epochs=12, batch_size=16, learning_rate=1e-2)
    facts = train_classifier(model, task, samples, teach, tmp_path / "work")
    assert facts["steps"] == 48
    assert (task.run(model, samples)["logits"].argmax(-1) == samples["label.classes"]).mean() > 0.8
