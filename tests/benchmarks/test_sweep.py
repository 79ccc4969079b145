"""A sample of the sweep over architectures: each type is what benchmarks/results/architectures.json says of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from benchmarks.architectures.page import exported, figures, render, verdict
from benchmarks.architectures.sweep import examine_type, share_operators, sweep

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "benchmarks" / "results" / "architectures.json").read_text())
ROWS = {row["type"]: row for row in DOCUMENT["types"]}
EXPORTED = ("t5", "vit", "modernbert")
SAMPLE = (
    # encoders of text
    "albert", "camembert", "deberta-v2", "distilbert", "electra", "eurobert", "longformer", "mpnet", "nomic_bert",
    "roberta", "xlm",
    # decoders of text, and encoder-decoders
    "bart", "bigbird_pegasus", "bloom", "cohere2", "gemma2", "gemma3_text", "gpt2", "gpt_oss", "longt5", "qwen2_moe",
    "qwen3",
    # images
    "beit", "convnext", "dinov2", "pixtral", "swin",
    # sound and series
    "audio-spectrogram-transformer", "patchtst", "sew", "wav2vec2", "whisper",
    # several at once
    "aimv2", "bridgetower", "clip", "layoutlmv3", "llava",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_table() -> None:
    share_operators()


def same(found: dict, recorded: dict) -> None:
    """Rows agree in all but figures, which depend on the machine."""
    assert found["buildable"]
    for key in ("class", "layers", "left_out", "refused"):
        assert found[key] == recorded[key]
    for name, check in found["checks"].items():
        known = recorded["checks"][name]
        assert (check["result"], check.get("detail")) == (known["result"], known.get("detail")), name
        assert check["result"] != "wrong", name


@pytest.mark.parametrize("model_type", SAMPLE)
def test_a_type_converts_as_recorded(model_type: str) -> None:
    same(examine_type(model_type, export=False), ROWS[model_type])


@pytest.mark.parametrize("model_type", EXPORTED)
@pytest.mark.slow
def test_a_type_exports_as_recorded(model_type: str) -> None:
    same(examine_type(model_type, export=True), ROWS[model_type])
    assert exported(ROWS[model_type])
    assert verdict(ROWS[model_type]) == "equal"


def test_the_page_is_what_the_record_renders_to() -> None:
    assert (ROOT / "docs" / "models.md").read_text() == render(DOCUMENT)


def test_the_totals_are_those_of_the_rows() -> None:
    totals = {figure.metric: figure.value for figure in figures(DOCUMENT["types"])}
    assert {row["metric"]: row["value"] for row in DOCUMENT["rows"]} == totals
    assert totals["looked at"] == len(ROWS) > 600
    assert totals["wrong"] == 0


def test_a_wrong_output_comes_first_on_the_page() -> None:
    wrong = {"result": "wrong", "error": 0.8, "detail": "last_hidden_state"}
    row = {**ROWS["bert"], "checks": {**ROWS["bert"]["checks"], "left padding": wrong}}
    page = render({**DOCUMENT, "types": [row]})
    assert "| bert | left padding | 0.8 | last_hidden_state |" in page
    assert page.index("## Wrong") < page.index("## Types")


def test_a_crash_and_a_hang_of_one_type_are_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.architectures.sweep.TIME_LIMIT_S", 1.0)

    def one(name: str) -> dict:
        if name == "crash":
            os._exit(3)
        if name == "hang":
            time.sleep(60)
        return {"type": name, "buildable": False, "reason": "none"}

    rows = sweep(["crash", "hang", "fine"], one, lambda row: None)
    assert [row["reason"] for row in rows] == [
        "its process ended with 3",
        "no end within 120 s of CPU time or 1 s",
        "none",
    ]
