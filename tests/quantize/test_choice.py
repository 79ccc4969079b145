"""Which candidate ships: accurate first, then fast or small, and no method given up for timing noise."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import tiny_bundle

from edgeattn.bundle import TaskSpec
from edgeattn.errors import VerificationError
from edgeattn.metrics import METRICS, Kept, Metric, mean_cosine
from edgeattn.quantize import choice
from edgeattn.quantize.choice import Candidate, choose
from edgeattn.runtimes import RUNTIMES

SAMPLES = tiny_bundle.samples(12, seed=2)


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Offers candidates "FORM PRECISION" -> (graph, latency_ms, bytes) to `choose`, in this order.

    Accuracy is measured, time is not.
    """

    def offered(candidates, prefer="latency", floor=0.95, metric="teacher_cosine"):
        monkeypatch.setattr(choice, "quick_compare", lambda named, *_, **__: {n: [candidates[n][1]] * 5 for n in named})
        made = []
        for name, (graph, _, size) in candidates.items():
            root = tmp_path / name
            root.mkdir()
            onnx.save(graph, root / "model.onnx")
            RUNTIMES["onnxruntime"].build(root / "model.onnx", root / "engine", method="fp32")
            made.append(Candidate(name, name.split()[-1], root, root / "engine", size))
        truth = tiny_bundle.answers(tiny_bundle.graph(dense=True), SAMPLES)
        arrays = {f"input.{name}": x for name, x in SAMPLES.items()}
        chosen, why = choose(
            made, runtime="onnxruntime", interface=tiny_bundle.INTERFACE, feeds=[SAMPLES], prefer=prefer,
            what="efficient",
            evaluation={**arrays, "reference.sentence_embedding": truth},
            task=TaskSpec(
                kind="text-embedding", metrics=(metric,),
                accept_metric=metric, accept_of_teacher=floor,
            ),
        )  # fmt: skip
        json.dumps(why, allow_nan=False)
        assert why["chosen"] == chosen.name
        return why

    return offered


RIGHT = tiny_bundle.graph()


def test_int8_that_is_hardly_faster_is_not_shipped(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8-dynamic": (RIGHT, 9.9, 100)})
    assert why["chosen"] == "fp32"
    assert why["because"] == (
        "fp32 at 10.0 ms; int8-dynamic at 9.9 ms is less than 3% faster than the best more precise candidate"
    )
    assert [row["within_floor"] for row in why["candidates"]] == [True, True]
    assert why["candidates"][1]["teacher_cosine"] > 0.99


def test_int8_that_is_faster_is_shipped(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8-dynamic": (RIGHT, 5.0, 100)})
    assert why["chosen"] == "int8-dynamic"
    assert why["because"] == "int8-dynamic at 5.0 ms; 2.00 x faster than fp32"


def test_size_can_be_preferred(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8-dynamic": (RIGHT, 20.0, 100)}, prefer="size")
    assert why["chosen"] == "int8-dynamic"
    assert why["because"] == "int8-dynamic at 100 bytes; 4.00 x smaller than fp32"


def test_a_fast_form_that_fails_the_floor_is_not_shipped(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8-dynamic": (tiny_bundle.graph(seed=5), 1.0, 100)})
    assert why["chosen"] == "fp32"
    value = why["candidates"][1]["teacher_cosine"]
    assert why["because"] == (
        f"fp32 at 10.0 ms; int8-dynamic fails the floor (teacher_cosine {value:.4f}, the floor is 0.9500)"
    )


def test_no_form_that_keeps_the_floor_ends_the_compile(offer):
    with pytest.raises(VerificationError) as caught:
        offer({"fp32": (tiny_bundle.graph(seed=5), 10.0, 400), "int8-dynamic": (tiny_bundle.constant(), 1.0, 100)})
    assert caught.value.exit_code == 1
    message = r"no candidate for the efficient model keeps the accuracy floor: the best, (fp32|int8-dynamic), "
    assert caught.match(
        rf"{message}has teacher_cosine -?0\.\d{{4}}, the floor is 0\.9500\n  fix: distill for more steps"
    )


def test_a_form_whose_output_is_no_number_fails_the_floor(offer):
    poisoned = tiny_bundle.graph(poison=True)
    assert np.isnan(tiny_bundle.answers(poisoned, tiny_bundle.samples(tiny_bundle.GOLDEN))).any()
    poison = onnx.ModelProto()
    poison.CopyFrom(RIGHT)
    table = next(weight for weight in poison.graph.initializer if weight.name == "table")
    table.CopyFrom(onnx.numpy_helper.from_array(np.full((64, 16), np.nan, np.float32), "table"))
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8-dynamic": (poison, 1.0, 100)})
    assert why["because"] == "fp32 at 10.0 ms; int8-dynamic fails the floor (teacher_cosine n/a, the floor is 0.9500)"
    with pytest.raises(VerificationError, match=r"the best, plain fp32, has teacher_cosine n/a, the floor is 0\.9500"):
        offer({"plain fp32": (poison, 1.0, 100)})


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_a_less_precise_form_must_beat_the_fastest_more_precise_one(offer, order):
    """Forms used to come one after the other, so that int8 of the plain form was only compared with its own fp32."""
    forms = [
        ("plain fp32", (RIGHT, 10.0, 400)),
        ("plain int8-dynamic", (RIGHT, 5.9, 100)),
        ("fused fp32", (RIGHT, 6.0, 400)),
        ("fused int8-dynamic", (RIGHT, 8.0, 100)),
    ]
    why = offer(dict(forms[place] for place in order))
    assert why["chosen"] == "fused fp32"
    assert [row["method"] for row in why["candidates"]] == ["fp32"] * 2 + ["int8-dynamic"] * 2
    assert sorted(why["because"].split("; ")) == [
        "1.33 x faster than fused int8-dynamic",
        "1.67 x faster than plain fp32",
        "fused fp32 at 6.0 ms",
        "plain int8-dynamic at 5.9 ms is less than 3% faster than the best more precise candidate",
    ]


def test_of_equally_precise_forms_the_plain_one_is_shipped_unless_another_is_clearly_faster(offer):
    """And int8 is compared with the faster of them, even where the plain one ships."""
    why = offer({"plain fp32": (RIGHT, 10.0, 400), "fused fp32": (RIGHT, 9.8, 400), "int8-dynamic": (RIGHT, 9.6, 100)})
    assert why["chosen"] == "plain fp32"
    assert why["because"] == (
        "plain fp32 at 10.0 ms; fused fp32 at 9.8 ms is less than 3% faster; "
        "int8-dynamic at 9.6 ms is less than 3% faster than the best more precise candidate"
    )


def test_a_broken_candidate_is_never_the_best_of_a_metric_where_less_is_better(offer, monkeypatch):
    """Its missing value used to count as 0, the best value of an error."""
    error = Metric("error", False, Kept("sentence_embedding", ("batch", None)), mean_cosine, ())
    monkeypatch.setitem(METRICS, "text-embedding", (error,))
    monkeypatch.setattr(choice, "score", lambda *_: {"error": 0.1})  # the teacher's
    values = {"fp32": 0.7, "int8-dynamic": None}
    monkeypatch.setattr(choice, "_accuracy", lambda candidate, *_: values[candidate.name])
    with pytest.raises(VerificationError, match=r"the best, fp32, has error 0\.7000, the floor is 0\.1053"):
        offer({"int8-dynamic": (RIGHT, 1.0, 100), "fp32": (RIGHT, 10.0, 400)}, metric="error")
