"""From labelled texts to logits and their metrics."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
from sklearn.metrics import accuracy_score, f1_score

from edgeattn.data.rows import Rows
from edgeattn.errors import DataError
from edgeattn.metrics import score


@pytest.fixture
def task(tmp_path):
    return tiny_models.text_classification_task(tmp_path, labels=3)


def rows(labels):
    return Rows({"text": tiny_models.sentences(len(labels)), "label": labels}, "a.csv")


def test_held_out_texts_come_with_their_labels(task):
    samples = task.encode(rows([0, 2, 1, 0]), held_out=True)
    assert samples["label.classes"].tolist() == [0, 2, 1, 0]
    assert len(samples["input_ids"]) == 4
    assert sorted(task.encode(rows([0, 2]), held_out=False)) == ["attention_mask", "input_ids"]


def test_texts_to_learn_from_need_no_labels(task):
    assert sorted(task.read(Rows({"text": ["a"]}), held_out=False)) == ["text"]
    with pytest.raises(DataError, match="no column 'label'"):
        task.read(Rows({"text": ["a"]}), held_out=True)


def test_a_label_out_of_range_is_refused(task):
    with pytest.raises(DataError, match=r"^a\.csv, row 2: label 3 is outside the task's 3 labels"):
        task.encode(rows([0, 3]), held_out=True)


def test_a_model_of_other_classes_is_said(task):
    model = tiny_models.make("bert", layers=1, head="BertForSequenceClassification", num_labels=4)[0]
    ((place, error),) = task.misfits(model, task.encode(rows([0, 1]), held_out=True))
    assert place == ("task", "labels")
    assert str(error).startswith("3 labels, and the model has 4\n  fix: use 4")


def test_metrics_are_those_of_sklearn():
    rng = np.random.default_rng(0)
    logits, teacher = rng.normal(size=(2, 60, 5)).astype(np.float32)
    labels = rng.integers(0, 4, size=60)  # the fifth class is chosen and never labelled
    found = score("text-classification", {"logits": logits}, {"reference.logits": teacher, "label.classes": labels})
    chosen = logits.argmax(1)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, chosen))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, chosen, average="macro"))
    assert found["teacher_agreement"] == pytest.approx(accuracy_score(teacher.argmax(1), chosen))
