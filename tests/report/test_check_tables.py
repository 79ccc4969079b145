"""The tables of check.json."""

from __future__ import annotations

from edgeattn.report import check

RELEASES = [
    {"release": "JetPack 5.1 (TensorRT 8.5.2)", "runtime": "tensorrt", "version": "8.5.2", "passed": False},
    {"release": "JetPack 6.1 (TensorRT 10.3.0)", "runtime": "tensorrt", "version": "10.3.0", "passed": False},
    {"release": "onnxruntime", "runtime": "onnxruntime", "version": "1.20", "passed": True},
]
BOTH = [RELEASES[0]["release"], RELEASES[1]["release"]]


def finding(node, operator, releases):
    fact = f"{operator} is not supported"
    return {
        "severity": "error", "node": node, "operator": operator, "fact": fact, "rule": "operator",
        "releases": releases, "remedy": "use another",
    }  # fmt: skip


def test_nodes_with_the_same_finding_are_one_row_and_all_releases_of_a_runtime_are_named_once():
    findings = [
        finding("a", "MatMulInteger", BOTH),
        finding("norm", "LayerNormalization", BOTH[:1]),
        finding("b", "MatMulInteger", BOTH),
        finding("c", "MatMulInteger", BOTH),
        finding("d", "Other", [*BOTH, "onnxruntime"]),
    ]
    _, rows = check.finding_rows(findings, RELEASES)
    assert [(row[1], row[2], row[4]) for row in rows] == [
        ("a and 2 more", "MatMulInteger", "every TensorRT"),
        ("norm", "LayerNormalization", "JetPack 5.1 (TensorRT 8.5.2)"),
        ("d", "Other", "all"),
    ]


def test_the_preflight_says_what_it_was_built_for():
    built = {"passed": True, "built_for": "8.6", "sm": "8.7", "seconds": 2.0, "problems": []}
    document = {"candidates": [{"preflight": built}], "preflight": {"tensorrt_rtx": "1.7.1"}, "left_out": []}
    assert "for SM 8.6 in place of SM 8.7, without a GPU" in check.notes(document)[0]
    built["sm"] = "8.6"
    assert "for SM 8.6, without a GPU" in check.notes(document)[0]
