"""The sentences of a bench document: faster, slower or neither, and from which length."""

from __future__ import annotations

import pytest
from bench_documents import bench, speedup

from edgeattn.report import text

LOSES = (0.9, 0.85, 0.95)
SAME = (0.98, 0.93, 1.05)
WINS = (1.6, 1.5, 1.7)


def test_a_ratio_that_means_nothing_is_said_and_counts_for_no_length():
    document = bench({128: WINS, 512: WINS})
    document["cells"][1]["speedups"]["efficient"] = speedup(None)
    assert text.verdicts(document)[1] == "512 tokens: no comparison with dense"
    assert text.pays(document, "efficient") is text.loses(document, "efficient") is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (WINS, "1.60 x faster than dense (1.50 to 1.70)"),
        (SAME, "no measurable difference from dense (0.98 x, 0.93 to 1.05)"),
        (LOSES, "0.90 x: slower than dense (0.85 to 0.95)"),
        ((1.6,), "1.60 x faster than dense (no interval from one pair)"),
    ],
)
def test_a_verdict_per_length(found, said):
    assert text.verdict(speedup(*found)) == said
    assert text.verdicts(bench({128: found})) == [f"128 tokens: {said}"]
    assert text.verdicts(bench({None: found}, unit=None)) == [said]


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        # ln 0.9 : ln 1.6 between 128 and 512 gives 128 x 4^0.183
        ({128: LOSES, 512: WINS}, "Pays from about 160 tokens."),
        ({128: LOSES, 256: (1.01, 0.95, 1.06), 512: WINS}, "Pays from about 240 tokens, measurably from 512."),
        ({128: WINS, 512: WINS}, "Pays from 128 tokens, the shortest measured."),
        ({128: (1.02, 0.97, 1.06), 512: WINS}, "Pays from 512 tokens."),
        ({128: LOSES, 512: SAME}, "Pays at none of the measured lengths."),
        ({128: WINS, 512: LOSES}, "Pays at 128 tokens, not at the longest."),
        ({1000: LOSES, 4000: WINS}, "Pays from about 1300 tokens."),
        ({512: WINS}, None),
        ({None: WINS}, None),
    ],
)
def test_the_length_from_which_it_pays(ratios, said):
    assert text.pays(bench(ratios), "efficient") == said


def test_the_unit_is_that_of_the_axis():
    document = bench({100: LOSES, 400: WINS}, unit="frames")
    assert text.pays(document, "efficient") == "Pays from about 130 frames."
    assert text.headline(document, None).startswith("At 400 frames: 1.60 x faster than dense")


def test_a_plan_that_loses_is_said_to_lose():
    said = text.headline(bench({64: LOSES, 128: LOSES, 512: WINS}), None)
    assert said.endswith("Slower than dense at 64 tokens and 128 tokens.")
    said = text.headline(bench({128: WINS, 512: LOSES}), None)
    assert said.startswith("At 512 tokens: 0.90 x: slower than dense (0.85 to 0.95). Pays at 128 tokens, not")


def test_of_several_contestants_each_is_named():
    document = bench({128: [SAME, WINS], 512: [LOSES, WINS]}, names=("main", "branch", "other"))
    assert text.verdicts(document)[:2] == [
        "128 tokens, branch: no measurable difference from main (0.98 x, 0.93 to 1.05)",
        "128 tokens, other: 1.60 x faster than main (1.50 to 1.70)",
    ]
    assert "At 512 tokens: branch, 0.90 x: slower than main (0.85 to 0.95)." in text.headline(document, None)
