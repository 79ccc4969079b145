"""gate.md, junit.xml and the table, of documents with hostile names in them."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

from edgeattn.errors import DeviceError
from edgeattn.gate import junit, markdown
from edgeattn.gate.document import Document, Row, Side, received
from edgeattn.gate.report import print_document
from edgeattn.gate.text import calibration

HOSTILE = "x|y<img src=x onerror=alert(1)>`[a](https://evil.example)*b*@team\x1b[31m\n# head"


def side(name):
    return Side(name=name, path="p", bundle="sha256:" + "a" * 64, method="fp32", runtime="onnxruntime")


def document(*rows, name="tiny", device="orin", reproduce="edgeattn gate b --baseline a", **facts):
    return Document(
        created_utc="2026-01-01T00:00:00+00:00", edgeattn="0.1.0", verdict="FAIL", exit_code=1, device=device,
        unit="tokens", machine={}, candidate=side(name), baseline=side(name),
        rule={"ignore": 0.01, "catch": 0.05}, protocol={}, threads=1, seconds=1.5, injected=0.0,
        rows=rows, discarded=(), notes=(), calibration=None, reproduce=reproduce, **facts,
    )  # fmt: skip


SLOW = Row(
    metric="p50", length=128, kind="paired", blocking=True, verdict="FAIL", unit="ms", candidate=1.1, baseline=1.0,
    ratio=1.1, low=1.08, high=1.12, pairs=20, minimum_detectable=0.03, why="10.0% more",
)  # fmt: skip
NOISY = Row(metric="p99", length=128, kind="paired", blocking=False, verdict="INCONCLUSIVE", why="undecided")
UNDECIDED = Row(metric="energy", length=128, kind="paired", blocking=True, verdict="INCONCLUSIVE", why="undecided")
FINE = Row(metric="nodes", kind="exact", blocking=True, verdict="PASS", candidate=12.0, baseline=12.0, limit=12.0)
NEW = Row(metric="p50", length=512, kind="new", blocking=False, verdict=None, why="new: recorded, not judged")


def test_the_comment_has_verdict_table_and_command():
    text = markdown.render(document(SLOW, FINE, NEW))
    assert text.startswith(
        "## \N{CROSS MARK} edgeattn gate: FAIL: the candidate is worse than the baseline: p50 at 128"
    )
    assert "| orin | p50 at 128 tokens | FAIL | 1.100 | 1.080 to 1.120 | 20 | +3.0% | 1.1 ms | 1 ms | - |" in text
    assert "| orin | p50 at 512 tokens | - |" in text
    assert "- p50 at 128 tokens: 10.0% more" in text
    assert "```console\n$ edgeattn gate b --baseline a\n```" in text


def test_markup_of_names_is_shown_and_not_obeyed():
    row = SLOW.model_copy(update={"why": HOSTILE})
    text = markdown.render(document(row, name=HOSTILE, device=HOSTILE, reproduce=f"edgeattn gate '```\n{HOSTILE}'"))
    body, _, _ = text.partition("````console")
    assert "````console\n$ edgeattn gate '```" in text, "the fence is longer than what is in it"
    for markup in ("<img", "[a](", "*b*", "@team", "https://", "\x1b", "\n# head"):
        assert markup not in body
    assert "x\\|y&lt;img" in body, "a cell of the table stays one cell"
    assert {line.count(" | ") for line in body.splitlines() if line.startswith("| ")} == {9}


@pytest.mark.parametrize("name", ["runtime", "method", "bundle"])
def test_markup_in_what_a_device_says_of_a_side_is_refused(name):
    answer = document(SLOW).model_dump(mode="json", by_alias=True)
    assert received(answer, "board").candidate.runtime == "onnxruntime"
    answer["candidate"][name] = "`<img src=x>`"
    with pytest.raises(DeviceError, match=rf"candidate\.{name}: String should match pattern"):
        received(answer, "board")


def test_the_table_on_the_terminal_obeys_no_escape_sequence(capsys):
    print_document(document(SLOW.model_copy(update={"why": HOSTILE}), device=HOSTILE))
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.splitlines()[-1] == "FAIL: the candidate is worse than the baseline: p50 at 128 tokens"


@pytest.mark.parametrize(("count", "said"), [(1, "1 pair was discarded, such as: hot"), (2, "2 pairs were discarded")])
def test_discarded_pairs_are_said(count, said):
    text = markdown.render(document(SLOW).model_copy(update={"discarded": ("hot",) * count}))
    assert f"- {said}" in text


def test_junit_has_a_case_per_metric():
    root = Xml.fromstring(junit.render(document(SLOW, NOISY, UNDECIDED, FINE, NEW, device=HOSTILE)))
    suite = root.find("testsuite")
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["5", "1", "1", "2"]
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {
        "p50 at 128 tokens": ["failure"],
        "p99 at 128 tokens": ["skipped"],
        "energy at 128 tokens": ["error"],
        "nodes": [],
        "p50 at 512 tokens": ["skipped"],
    }
    assert [each.get("message") for each in suite.iter("skipped")] == [
        "(INCONCLUSIVE) undecided", "new: recorded, not judged",
    ]  # fmt: skip
    assert suite.find("testcase/failure").get("message") == "FAIL 10.0% more"


def test_the_schema_of_gate_json_is_closed():
    assert Document.model_json_schema(by_alias=True)["additionalProperties"] is False
    written = document(SLOW).model_dump_json(by_alias=True)
    assert Document.model_validate_json(written) == document(SLOW)
    assert '"schema":1' in written


@pytest.mark.parametrize(
    ("honours", "said"),
    [
        (0.05, "this machine can honour a catch of 5%"),
        (0.08, "this machine can honour a catch of 8%, not of 5%: expect INCONCLUSIVE"),
        (None, "this machine is too noisy for any catch up to 20 %"),
    ],
)
def test_what_is_quoted_of_the_calibration(honours, said):
    facts = {
        "created_utc": "2026-01-01T00:00:00+00:00", "protocol": "quick", "no_change": {"FAIL": 0}, "gates": 2000,
        "honours": honours, "injected": [{"share": 0.05, "caught": 1950}],
    }  # fmt: skip
    text = calibration(facts, 0.05)
    assert text.startswith("calibrated 2026-01-01 (quick): 0 of 2000 gates of no change fail, 97.5% of those with 5%")
    assert text.endswith(said)
