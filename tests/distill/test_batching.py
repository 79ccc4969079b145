"""Batches of training: grouped by length, padded no more than their longest sample."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models
import torch
from transformers import Trainer, TrainingArguments

from edgeattn.distill.batching import Unpadded, collate
from edgeattn.distill.train import GroupingTrainer


@pytest.fixture
def samples(tmp_path):
    task = tiny_models.text_task(tmp_path)
    return task, task.encode(tiny_models.text_rows(120), held_out=False)


def test_a_sample_comes_without_its_padding(samples):
    task, encoded = samples
    data = Unpadded(encoded, task)
    assert len(data) == 120
    for row in range(120):
        length = int(encoded["attention_mask"][row].sum())
        assert data[row]["input_ids"].shape == (length,)
        assert data[row]["attention_mask"].all()


def test_a_batch_is_padded_to_its_longest():
    batch = collate([{"x": np.array([1, 2, 3]), "label": np.int64(4)}, {"x": np.array([5]), "label": np.int64(6)}])
    assert batch["x"].tolist() == [[1, 2, 3], [5, 0, 0]]
    assert batch["label"].tolist() == [4, 6]


def test_images_pass_as_they_are(tmp_path):
    samples = tiny_models.images(5)
    data = Unpadded(samples, tiny_models.image_task(tmp_path), extra=("label.classes",))
    batch = collate([data[row] for row in range(5)])
    np.testing.assert_array_equal(batch["pixel_values"].numpy(), samples["pixel_values"])
    assert batch["label.classes"].tolist() == samples["label.classes"].tolist()
    assert sorted(Unpadded(samples, tiny_models.image_task(tmp_path))[0]) == ["pixel_values"]


def padding_share(data, tmp_path, kind):
    arguments = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True, report_to="none",
        remove_unused_columns=False, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = kind(torch.nn.Linear(1, 1), arguments, train_dataset=data, data_collator=collate)
    masks = [batch["attention_mask"] for batch in trainer.get_train_dataloader()]
    assert sum(int(mask.sum()) for mask in masks) == sum(len(data[row]["input_ids"]) for row in range(len(data)))
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def test_grouping_by_length_pads_little(samples, tmp_path):
    task, encoded = samples
    data = Unpadded(encoded, task)
    grouped, mixed = (padding_share(data, tmp_path, kind) for kind in (GroupingTrainer, Trainer))
    assert grouped < 0.15
    assert grouped < mixed / 2
