"""`edgeattn bench --scenario decode`: tokens one by one, after contexts that each engine has read."""

from __future__ import annotations

import json

import pytest
import tiny_generation
from click.testing import CliRunner

from edgeattn.bench.bundles import bench
from edgeattn.bench.scenarios import scenario_of
from edgeattn.bundle import Bundle
from edgeattn.cli.main import cli
from edgeattn.errors import InputError, VerificationError


def test_dense_carries_more_the_longer_its_context_is_and_efficient_does_not(tmp_path, hasty):
    """One test, because one session serves all checks of its document."""
    tiny_generation.make(tmp_path / "bundle")
    arguments = ["bench", str(tmp_path / "bundle"), "--scenario", "decode", "--lengths", "4,30", "--quick", "--json"]
    found = CliRunner().invoke(cli, arguments)
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    bundle = Bundle.open(tmp_path / "bundle")
    assert json.loads((bundle.path / "bench-decode.json").read_text()) == document
    assert (document["scenario"], document["figure"], document["unit"]) == ("decode", "ms_per_token", "tokens")
    assert document["contestants"]["dense"]["method"] == "fp32"
    assert document["contestants"]["dense"]["disk_bytes"] == (bundle.path / "decode-dense.onnx").stat().st_size
    assert [cell["length"] for cell in document["cells"]] == [4, 30]
    for cell in document["cells"]:
        for facts in cell["contestants"].values():
            assert facts["ms_per_token"] == facts["p50_ms"] > 0
            assert facts["tokens_per_s"] == pytest.approx(1e3 / facts["ms_per_token"])
            assert facts["p90_ms"] is not None
        assert cell["speedups"]["efficient"]["pairs"] == 2
    row = tiny_generation.WIDTH * 4 / 1e6
    carried = [[cell["contestants"][each]["state_mb"] for cell in document["cells"]] for each in ("dense", "efficient")]
    assert carried[0] == pytest.approx([20 * row, 46 * row])  # with the 16 tokens after the context
    assert carried[1] == pytest.approx([row, row])
    html = (bundle.path / "report.html").read_text()
    assert "token by token" in html


def run(bundle, lengths, hasty):
    return bench([bundle], lengths=lengths, pairs=1, threads=1, scenario=scenario_of("decode"), protocol=hasty)


def test_an_engine_that_forgets_is_refused(tmp_path, hasty):
    """Even where it remembers all of the golden samples, which have 6 tokens."""
    with pytest.raises(VerificationError, match="output 'logits' differs from the teacher's"):
        run(tiny_generation.make(tmp_path / "short", remembers=3), (4,), hasty)
    with pytest.raises(VerificationError, match="tokens after a context of 12 differ from those of the whole text"):
        run(tiny_generation.make(tmp_path / "long", remembers=8), (12,), hasty)


def test_a_context_leaves_room_for_the_tokens_after_it(tmp_path, hasty):
    bundle = tiny_generation.make(tmp_path / "bundle", longest=30)
    assert [cell["length"] for cell in run(bundle, (30,), hasty)["cells"]] == [14]
    with pytest.raises(InputError, match="the model takes 30 tokens, and a context of 31 was asked for"):
        run(bundle, (31,), hasty)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"no_decode": "layer 0: a bias"}, "it has no graph that reads one token: layer 0: a bias"),
        ({}, "it has no graph that reads one token: it was compiled before there were any"),
    ],
)
def test_a_bundle_without_graphs_of_one_token_is_refused_with_the_reason(tmp_path, changes, reason, hasty):
    bundle = tiny_generation.make(tmp_path / "bundle", decode={}, **changes)
    with pytest.raises(InputError, match=reason):
        run(bundle, (4,), hasty)


def test_a_model_that_generates_nothing_is_refused(tiny, hasty):
    with pytest.raises(InputError, match="a model for text-embedding generates no tokens"):
        run(tiny, None, hasty)
