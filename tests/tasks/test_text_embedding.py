"""From rows to model inputs, from hidden states to unit vectors."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tiny_models
import torch

from edgeattn.data.rows import Rows
from edgeattn.errors import DataError, ModelError
from edgeattn.metrics import score
from edgeattn.recipe.tasks import TextEmbedding
from edgeattn.tasks.text_embedding import TextEmbeddingTask, pool


@pytest.fixture
def task(tmp_path):
    return tiny_models.text_task(tmp_path)


def decoded(task, samples):
    return [
        task.tokenizer.decode(row[: mask.sum()], skip_special_tokens=True)
        for row, mask in zip(samples["input_ids"], samples["attention_mask"], strict=True)
    ]


def test_pooling_is_the_mean_of_the_attended_tokens_at_length_one():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 7, 5, generator=generator)
    mask = torch.rand(4, 7, generator=generator) < 0.6
    mask[:, 0] = True
    found = pool(hidden, mask.long())
    for row in range(4):
        kept = [hidden[row, token].tolist() for token in range(7) if mask[row, token]]
        mean = [sum(column) / len(kept) for column in zip(*kept, strict=True)]
        length = math.sqrt(sum(x * x for x in mean))
        assert found[row].tolist() == pytest.approx([x / length for x in mean], abs=1e-6)
    assert torch.isfinite(pool(hidden, torch.zeros(4, 7))).all()


def test_texts_are_encoded_once_with_padding_on_the_right(task):
    samples = task.encode(Rows({"text": ["a b", "c d e", "a b"]}), held_out=False)
    assert sorted(samples) == ["attention_mask", "input_ids"]
    assert decoded(task, samples) == ["a b", "c d e"]
    assert samples["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert samples["input_ids"].dtype == np.int64


def test_padding_is_on_the_right_even_where_the_tokenizer_would_pad_left(tmp_path):
    """Batches are cut to their longest sample on that side, so that left padding would lose words."""
    task = tiny_models.text_task(tmp_path, side="left")
    samples = task.encode(Rows({"text": ["a b", "c d e f"]}), held_out=True)
    assert decoded(task, samples) == ["a b", "c d e f"]
    assert task.collate(samples, [0])["input_ids"].shape == (1, 4)


def test_long_texts_are_cut(tmp_path):
    task = tiny_models.text_task(tmp_path, max_length=6)
    rows = Rows({"text": ["a b c d e f g h"]})
    assert task.encode(rows, held_out=True)["input_ids"].shape == (1, 6)
    assert task.encode(rows, held_out=False, max_length=4)["input_ids"].shape == (1, 4)


def test_held_out_pairs_point_at_their_texts(task):
    rows = Rows({"text": ["a", "b", "a"], "text_pair": ["b", "c", "c"], "score": [1.0, 2.5, 3]})
    samples = task.encode(rows, held_out=True)
    texts = decoded(task, samples)
    assert texts == ["a", "b", "c"]
    assert [(texts[i], texts[j]) for i, j in samples["label.pairs"]] == [("a", "b"), ("b", "c"), ("a", "c")]
    assert samples["label.scores"].tolist() == [1, 2.5, 3]
    assert sorted(task.encode(rows, held_out=False)) == ["attention_mask", "input_ids"]
    unscored = Rows({name: column for name, column in rows.columns.items() if name != "score"})
    assert "label.scores" not in task.encode(unscored, held_out=True)


def test_data_without_a_text_column_is_refused(task):
    with pytest.raises(DataError, match=r"no column 'text'\n  fix: name it: columns: \{text: ...\}"):
        task.encode(Rows({"sentence": ["a"]}), held_out=False)


def test_scores_are_read_of_held_out_pairs_only(task):
    rows = Rows({"text": ["a"], "text_pair": ["b"], "score": [math.nan]}, "a.csv")
    assert sorted(task.read(rows, held_out=False)) == ["text", "text_pair"]
    with pytest.raises(DataError, match=r"^a\.csv, row 1: score is the number nan, not a finite number"):
        task.read(rows, held_out=True)


# --- the tokenizer ------------------------------------------------------------------------------------------


def test_a_teacher_without_a_tokenizer_is_refused(tmp_path):
    spec = TextEmbedding(kind="text-embedding")
    tiny_models.config("bert").save_pretrained(tmp_path)  # of which transformers would make one up
    with pytest.raises(ModelError, match=r"no tokenizer\n  fix: save the tokenizer beside the model") as caught:
        TextEmbeddingTask(spec, tmp_path).encode(tiny_models.text_rows(8), held_out=True)
    assert caught.value.exit_code == 2


def test_a_tokenizer_that_makes_most_texts_the_same_is_refused(tmp_path):
    """As the one that transformers makes up from a config and the tokenizer's options."""
    tiny_models.tokenizer(tmp_path)
    for name in ("vocab.txt", "tokenizer.json"):
        (tmp_path / name).unlink(missing_ok=True)
    tiny_models.config("bert").save_pretrained(tmp_path)
    task = TextEmbeddingTask(TextEmbedding(kind="text-embedding"), tmp_path)
    texts = [f"{a} {b}" for a in "abcd" for b in "efgh"]
    with pytest.raises(
        ModelError, match=r"turns 16 different held-out texts into \d different inputs\n  fix: give the"
    ):
        task.encode(Rows({"text": texts}), held_out=True)


def test_a_tokenizer_that_knows_few_of_the_words_is_refused(task):
    texts = [f"{letter} слово {letter} слово и" for letter in "abcdefgh"]
    with pytest.raises(
        ModelError, match=r"does not know 24 of the 40 tokens of the held-out texts\n  fix: give the tok"
    ):
        task.encode(Rows({"text": texts}), held_out=True)
    task.encode(Rows({"text": [text.replace("слово", "b") for text in texts]}), held_out=True)


def test_a_broken_tokenizer_is_the_models_fault(tmp_path):
    (tiny_models.tokenizer(tmp_path) / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')
    task = TextEmbeddingTask(TextEmbedding(kind="text-embedding"), tmp_path)
    with pytest.raises(ModelError, match=r"tokenizer\.json: there is no 'added_tokens'\n  fix: correct"):
        task.encode(tiny_models.text_rows(8), held_out=True)


def test_a_tokenizer_without_a_padding_token_pads_with_its_last(tmp_path):
    folder = tiny_models.tokenizer(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": None, "eos_token": "[SEP]"}))
    task = TextEmbeddingTask(TextEmbedding(kind="text-embedding"), folder)
    samples = task.encode(Rows({"text": ["a b", "c d e"]}), held_out=False)
    assert decoded(task, samples) == ["a b", "c d e"]


# --- batches and losses -------------------------------------------------------------------------------------


def test_overlap_counts_held_out_texts_that_are_trained_on(task):
    train = task.encode(Rows({"text": ["a b", "c d e f g", "x"]}), held_out=False)
    held = task.encode(Rows({"text": ["x", "a b", "a b c", "b a"]}), held_out=True)
    assert train["input_ids"].shape[1] != held["input_ids"].shape[1]  # unlike padding
    assert task.overlap(train, held) == 2
    assert task.overlap(train, train) == 3


def test_a_batch_has_no_column_that_is_padding_in_every_row(task):
    samples = task.encode(Rows({"text": ["a", "a b c d e f", "a b", "c d"]}), held_out=True)
    assert task.collate(samples, [0, 2])["input_ids"].shape == (2, 4)
    assert task.collate(samples, slice(0, 2))["attention_mask"].shape == (2, 8)
    assert samples["input_ids"].shape == (4, 8)


def test_batches_hold_every_sample_once_and_little_padding(task):
    samples = task.encode(tiny_models.text_rows(50), held_out=True)
    seen, padded = [], 0
    for rows, feeds in task.batches(samples, 8):
        assert len(rows) == len(feeds["input_ids"]) <= 8
        seen += rows.tolist()
        padded += int((feeds["attention_mask"] == 0).sum())
    assert sorted(seen) == list(range(50))
    assert padded < samples["attention_mask"].sum() / 10


def test_outputs_come_in_the_samples_order_whatever_the_batch_size(task):
    model = task.exportable(tiny_models.make("bert")[0])
    samples = task.encode(tiny_models.text_rows(23), held_out=True)
    outputs = [task.run(model, samples, size=size)["sentence_embedding"] for size in (1, 5, 32)]
    for row in range(23):
        alone = {name: x[row : row + 1] for name, x in samples.items()}
        np.testing.assert_allclose(outputs[0][row], task.run(model, alone)["sentence_embedding"][0], atol=1e-5)
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(outputs[0], axis=1), 1, atol=1e-5)


def test_the_loss_of_a_model_with_itself_is_zero(task):
    model = tiny_models.make("bert")[0]
    feeds = task.example(task.encode(tiny_models.text_rows(6), held_out=True))
    with torch.no_grad():
        same, other = (task.forward(m, feeds) for m in (model, tiny_models.make("bert", seed=5)[0]))
    assert float(task.distillation_loss(same, same, feeds)) == pytest.approx(0, abs=1e-5)
    assert float(task.distillation_loss(other, same, feeds)) > 1


def test_the_loss_sees_no_padding(task):
    model, student = tiny_models.make("bert")[0], tiny_models.make("bert", seed=5)[0]
    samples = task.encode(Rows({"text": ["a b c", "d e f"]}), held_out=True)
    short = task.example(samples)
    long = {name: torch.nn.functional.pad(x, (0, 6)) for name, x in short.items()}
    with torch.no_grad():
        losses = [task.distillation_loss(task.forward(student, f), task.forward(model, f), f) for f in (short, long)]
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=1e-4)


def test_metrics_by_hand():
    unit = np.eye(4, dtype=np.float32)
    turned = np.stack([unit[0], unit[1], (unit[2] + unit[3]) / math.sqrt(2), unit[3]])
    # Pairs by their cosine: (2, 3) at 0.71, (0, 1) and (0, 2) at 0. Gold says 3, 1, 2: ranks 3, 1.5, 1.5 and 3, 1, 2.
    evaluation = {
        "reference.sentence_embedding": unit,
        "label.pairs": np.array([[2, 3], [0, 1], [0, 2]]),
        "label.scores": np.array([3.0, 1.0, 2.0]),
    }
    found = score("text-embedding", {"sentence_embedding": turned}, evaluation)
    assert found["spearman"] == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert found["teacher_cosine"] == pytest.approx((3 + 1 / math.sqrt(2)) / 4)
