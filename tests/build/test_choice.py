"""Which candidate ships: accurate first, then fast or small, and no method given up for timing noise."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgeattn.bench.accuracy import holds
from edgeattn.build.choice import Row, because, choose
from edgeattn.build.trials import Trial
from edgeattn.bundle import Candidate
from edgeattn.errors import VerificationError
from edgeattn.runtimes.base import DEFAULT, Configuration

RANKS = {"fp32": 0, "int8-dynamic": 1}
BF16 = Configuration("bf16", {}, least_cosine=0.99)


def row(name, latency_ms, size=100, configuration=DEFAULT):
    """A row of the candidate "FORM METHOD"; latency_ms: of each length."""
    candidate = Candidate(
        name=name, side="efficient", form="plain", method=name.split()[-1], rank=RANKS[name.split()[-1]],
        folder=f"candidates/{name.replace(' ', '-')}", runtimes=("onnxruntime",), least_cosine=0.9,
    )  # fmt: skip
    latencies = {None: latency_ms} if isinstance(latency_ms, float) else dict(latency_ms)
    return Row(Trial(candidate, "onnxruntime", configuration, size), latencies)


@pytest.fixture
def offer():
    """Offers rows to `choose`; values: name of a candidate -> its metric, 1 by default. Returns (the name, why)."""

    def offered(*rows, prefer="latency", floor=0.95, higher=True, **values):
        metric = SimpleNamespace(name="metric", higher_is_better=higher)
        scores = SimpleNamespace(metric=metric, floor=floor, hold=lambda found: holds(found["metric"], floor, higher))
        asked = []

        def score(trial):
            asked.append(trial.candidate.name)
            return {"metric": values.get(trial.candidate.name.replace(" ", "_").replace("-", "_"), 1.0 * floor)}

        best = choose(rows, scores, score, prefer=prefer, side="efficient")
        offered.asked = asked
        return best.trial.candidate.name, because(best, rows, prefer, scores)

    return offered


def test_int8_that_is_hardly_faster_is_not_shipped(offer):
    chosen, why = offer(row("fp32", 10.0), row("int8-dynamic", 9.9))
    assert chosen == "fp32"
    assert why == (
        "fp32, onnxruntime at 10 ms; int8-dynamic, onnxruntime at 9.9 ms is less than 3% faster "
        "than the best more precise candidate"
    )


def test_int8_that_is_faster_is_shipped_and_nothing_else_is_scored(offer):
    chosen, why = offer(row("fp32", 10.0), row("int8-dynamic", 5.0))
    assert chosen == "int8-dynamic"
    assert why == "int8-dynamic, onnxruntime at 5 ms; 2.00 x faster than fp32, onnxruntime"
    assert offer.asked == ["int8-dynamic"]


def test_the_choice_is_by_the_geometric_mean_over_the_lengths(offer):
    chosen, why = offer(row("a fp32", {128: 4.0, 512: 25.0}), row("b fp32", {128: 5.0, 512: 16.0}))
    assert chosen == "b fp32"
    assert why == (
        "b fp32, onnxruntime at 8.944 ms, the geometric mean of 2 lengths; 1.12 x faster than a fp32, onnxruntime"
    )


def test_size_can_be_preferred(offer):
    chosen, why = offer(row("fp32", 10.0, 400), row("int8-dynamic", 20.0, 100), prefer="size")
    assert chosen == "int8-dynamic"
    assert why == "int8-dynamic, onnxruntime at 100 bytes; 4.00 x smaller than fp32, onnxruntime"


def test_a_fast_candidate_that_fails_the_floor_is_not_shipped(offer):
    chosen, why = offer(row("fp32", 10.0), row("int8-dynamic", 1.0), int8_dynamic=0.9)
    assert chosen == "fp32"
    assert why == (
        "fp32, onnxruntime at 10 ms; int8-dynamic, onnxruntime fails the floor (metric 0.9000, the floor is 0.9500)"
    )
    assert offer.asked == ["int8-dynamic", "fp32"]


def test_no_candidate_that_keeps_the_floor_ends_the_build(offer):
    with pytest.raises(VerificationError) as caught:
        offer(row("fp32", 10.0), row("int8-dynamic", 1.0), fp32=0.8, int8_dynamic=None)
    assert caught.value.exit_code == 1
    assert caught.match(
        r"no candidate for the efficient model keeps the accuracy floor: the best, fp32, onnxruntime, "
        r"has metric 0\.8000, the floor is 0\.9500\n  fix: distill for more steps"
    )


def test_a_candidate_without_a_value_is_never_the_best_where_less_is_better(offer):
    with pytest.raises(VerificationError, match=r"the best, fp32, onnxruntime, has metric 0\.7000"):
        offer(row("fp32", 10.0), row("int8-dynamic", 1.0), higher=False, floor=0.1, fp32=0.7, int8_dynamic=None)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_a_less_precise_candidate_must_beat_the_fastest_more_precise_one(offer, order):
    rows = [
        row("plain fp32", 10.0),
        row("plain int8-dynamic", 5.9),
        row("fused fp32", 6.0),
        row("fused int8-dynamic", 8.0),
    ]
    chosen, _ = offer(*(rows[place] for place in order))
    assert chosen == "fused fp32"


def test_of_equally_precise_ones_the_first_is_shipped_unless_another_is_clearly_faster(offer):
    """And int8 is compared with the faster of them, even where the first ships."""
    chosen, _ = offer(row("plain fp32", 10.0), row("fused fp32", 9.8), row("int8-dynamic", 9.6))
    assert chosen == "plain fp32"


def test_a_lower_inference_precision_counts_as_less_precise_than_the_same_method(offer):
    chosen, _ = offer(row("fp32", 9.8, configuration=BF16), row("fp32", 10.0))
    assert chosen == "fp32"
    chosen, why = offer(row("fp32", 5.0, configuration=BF16), row("fp32", 10.0))
    assert why == "fp32, onnxruntime bf16 at 5 ms; 2.00 x faster than fp32, onnxruntime"
