"""What is shipped: right first, then fast or small, and no precision given away for timing noise."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import tiny_bundle

from edgeattn.bundle import Metric, TaskSpec
from edgeattn.errors import VerificationError
from edgeattn.quantize import Candidate, choice, choose
from edgeattn.runtimes import onnxruntime

SAMPLES = tiny_bundle.samples(12, seed=2)


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Offers candidates name -> (graph, latency_ms, bytes) to `choose`; accuracy is measured, time is not."""

    def offered(candidates, prefer="latency", floor=0.95):
        monkeypatch.setattr(choice, "quick_compare", lambda named, *_, **__: {n: [candidates[n][1]] * 5 for n in named})
        made = []
        for name, (graph, _, size) in candidates.items():
            root = tmp_path / name
            root.mkdir()
            onnx.save(graph, root / "model.onnx")
            onnxruntime.write_engine(root / "engine", onnxruntime.default_settings(root / "model.onnx", "fp32"))
            made.append(Candidate(name, name, root, root / "engine", size))
        truth = tiny_bundle.answers(tiny_bundle.graph(dense=True), SAMPLES)
        arrays = {f"input.{name}": x for name, x in SAMPLES.items()}
        chosen, why = choose(
            made, runtime="onnxruntime", inputs=tiny_bundle.INPUTS, feeds=[SAMPLES], prefer=prefer, what="efficient",
            evaluation={**arrays, "teacher.sentence_embedding": truth},
            task=TaskSpec(
                kind="text-embedding", metrics=(Metric(name="teacher_cosine", higher_is_better=True),),
                accept_metric="teacher_cosine", accept_of_teacher=floor,
            ),
        )  # fmt: skip
        json.dumps(why, allow_nan=False)
        assert why["chosen"] == chosen.name
        return why

    return offered


RIGHT = tiny_bundle.graph()


def test_int8_that_is_hardly_faster_is_not_shipped(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8": (RIGHT, 9.9, 100)})
    assert why["chosen"] == "fp32"
    assert why["because"] == "fp32 at 10.0 ms; int8 at 9.9 ms is not faster by enough to give up precision"
    assert [row["within_floor"] for row in why["candidates"]] == [True, True]
    assert why["candidates"][1]["teacher_cosine"] > 0.99


def test_int8_that_is_faster_is_shipped(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8": (RIGHT, 5.0, 100)})
    assert why["chosen"] == "int8"
    assert why["because"] == "int8 at 5.0 ms; faster than fp32 by 2.00"


def test_size_can_be_preferred(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8": (RIGHT, 20.0, 100)}, prefer="size")
    assert why["chosen"] == "int8"
    assert why["because"] == "int8 at 100 bytes; smaller than fp32 by 4.00"


def test_a_fast_form_that_fails_the_floor_is_not_shipped(offer):
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8": (tiny_bundle.graph(seed=5), 1.0, 100)})
    assert why["chosen"] == "fp32"
    value = why["candidates"][1]["teacher_cosine"]
    assert why["because"] == (
        f"fp32 at 10.0 ms; int8 fails the floor (teacher_cosine {value:.4f}, the floor is 0.9500)"
    )


def test_no_form_that_keeps_the_floor_ends_the_compile(offer):
    with pytest.raises(VerificationError) as caught:
        offer({"fp32": (tiny_bundle.graph(seed=5), 10.0, 400), "int8": (tiny_bundle.constant(), 1.0, 100)})
    assert caught.value.exit_code == 1
    message = r"no form of the efficient model keeps the accuracy floor: the best, (fp32|int8), has teacher_cosine "
    assert caught.match(rf"{message}-?0\.\d{{4}}, the floor is 0\.9500\n  fix: distil for more steps")


def test_32_a_form_whose_output_is_no_number_fails_the_floor(offer):
    poisoned = tiny_bundle.graph(poison=True)
    assert np.isnan(tiny_bundle.answers(poisoned, tiny_bundle.samples(tiny_bundle.GOLDEN))).any()
    poison = onnx.ModelProto()
    poison.CopyFrom(RIGHT)
    table = next(weight for weight in poison.graph.initializer if weight.name == "table")
    table.CopyFrom(onnx.numpy_helper.from_array(np.full((64, 16), np.nan, np.float32), "table"))
    why = offer({"fp32": (RIGHT, 10.0, 400), "int8": (poison, 1.0, 100)})
    assert why["because"] == "fp32 at 10.0 ms; int8 fails the floor (teacher_cosine n/a, the floor is 0.9500)"
    with pytest.raises(VerificationError, match=r"the best, none, has teacher_cosine n/a, the floor is 0\.9500"):
        offer({"none": (poison, 1.0, 100)})
