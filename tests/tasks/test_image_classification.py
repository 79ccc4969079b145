"""From rows to images, and which rows are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch

from edgeattn.data.rows import Rows
from edgeattn.errors import DataError
from edgeattn.metrics import score


@pytest.fixture
def task(tmp_path):
    return tiny_models.image_task(tmp_path)


def rows(images, labels):
    return Rows({"image": images, "label": labels})


def test_images_and_labels_are_encoded(task):
    images = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
    samples = task.encode(rows(images, [0, 9, 3]), held_out=True)
    np.testing.assert_array_equal(samples["pixel_values"], images)
    assert samples["label.classes"].tolist() == [0, 9, 3]
    assert task.dynamic_dims() == {"pixel_values": {0: "batch"}}


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_missing_column_is_named(task, column):
    columns = dict(rows(np.zeros((2, 1, 8, 8)), [0, 1]).columns)
    del columns[column]
    with pytest.raises(DataError, match=f"no column '{column}'\n  fix: name it: columns: {{{column}: ...}}"):
        task.encode(Rows(columns), held_out=True)


def test_images_of_a_wrong_shape_are_refused(task):
    with pytest.raises(DataError, match=r"image has shape \[8, 8\], not \[channels, height, width\]"):
        task.encode(rows(np.zeros((2, 8, 8)), [0, 1]), held_out=True)


@pytest.mark.parametrize("label", [10, -1])
def test_a_label_out_of_range_is_refused(task, label):
    with pytest.raises(DataError, match=f"label {label} is outside the task's 10 labels"):
        task.encode(rows(np.zeros((2, 1, 8, 8)), [0, label]), held_out=True)


def test_overlap_counts_the_same_images(task):
    train, held = tiny_models.images(20), tiny_models.images(6, seed=1)
    held["pixel_values"][2] = train["pixel_values"][7]
    assert task.overlap(train, held) == 1


def test_outputs_come_in_order_whatever_the_batch_size(task):
    model, samples = tiny_models.make("vit")[0], tiny_models.images(11)
    one, four = (task.run(model, samples, size=size)["logits"] for size in (1, 4))
    np.testing.assert_allclose(one, four, atol=1e-5)
    with torch.no_grad():
        direct = model(pixel_values=torch.from_numpy(samples["pixel_values"])).logits.numpy()
    np.testing.assert_allclose(one, direct, atol=1e-5)


def test_the_loss_of_a_model_with_itself_is_zero(task):
    feeds = task.example(tiny_models.images(4))
    with torch.no_grad():
        same, other = (task.forward(tiny_models.make("vit", seed=seed)[0], feeds) for seed in (0, 5))
    assert float(task.distillation_loss(same, same, feeds)) == pytest.approx(0, abs=1e-6)
    assert float(task.distillation_loss(other, same, feeds)) > 0.1


def test_metrics_by_hand():
    teacher = np.array([[3, 1], [0, 2], [5, 4], [1, 2]], np.float32)  # 0 1 0 1
    ours = np.array([[3, 1], [2, 0], [5, 4], [2, 1]], np.float32)  # 0 0 0 0
    evaluation = {"reference.logits": teacher, "label.classes": np.array([0, 0, 0, 1])}
    found = score("image-classification", {"logits": ours}, evaluation)
    assert found == {"accuracy": 0.75, "teacher_agreement": 0.5}
