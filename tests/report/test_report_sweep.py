"""Every value of every document in turn is replaced: the page shows it, or the document is refused by name."""

from __future__ import annotations

import copy
import itertools

import bench_documents
import pytest
import tiny_bundle
from report_pages import evidence

from edgeattn.errors import BundleError
from edgeattn.report import page
from edgeattn.report.evidence import shown_or_refused
from edgeattn.report.subject import Subject

WRONG = (None, "<b>x", -1, [], {}, float("nan"), 10**30, True, {"a": {"b": [None]}}, 0, "9" * 400, [[1, 2], None])


def bench():
    found = bench_documents.bench({128: (0.9, 0.85, 0.95), 512: (1.6, 1.5, 1.7)})
    found["conditions"] = {
        "start": {"power_mode": "15W", "cpu_mhz": [1000, 1500], "temperatures_c": {"CPU": 51.5}, "throttled": []},
        "end": {"power_mode": "15W", "cpu_mhz": [1000, 1500], "temperatures_c": {"CPU": 60.0}, "throttled": ["heat"]},
        "discarded": [{"pair": 2, "reason": "the CPU throttled"}],
        "invalid": None,
    }
    for cell in found["cells"]:
        for engine in cell["contestants"].values():
            engine |= {"energy_mj": 4.0, "energy_net_mj": 3.0, "energy_scope": "module", "watts": 5.0, "arena_mb": 2.0}
    return found


def build():
    found = bench_documents.build()
    layers = {"layer.0.q": 0.1, "layer.1.q": 0.2}
    return {**found, "quantized": {"efficient int8": {"sensitivity": layers, "left_in_float": ["layer.0.q"]}}}


def places(value, at=()):
    yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*at, key))


def changed(document, at, value):
    if not at:
        return value
    found = copy.deepcopy(document)
    holder = found
    for key in at[:-1]:
        holder = holder[key]
    holder[at[-1]] = value
    return found


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return tiny_bundle.make(tmp_path_factory.mktemp("sweep") / "tiny").manifest


@pytest.mark.parametrize(
    ("name", "make"),
    [("bench", bench), ("build", build), ("verify", bench_documents.verify), ("profile", bench_documents.profile)],
)
def test_each_value_is_shown_or_refused(manifest, tmp_path, name, make):
    document, wrong, shown = make(), itertools.cycle(WRONG), 0
    for at in places(document):
        for value in itertools.islice(wrong, 3):
            subject = Subject([evidence(manifest, **{name: changed(document, at, value)})])
            try:
                with shown_or_refused(tmp_path / f"{name}.json", "again"):
                    page.tried(subject)
            except BundleError:
                continue
            shown += 1
            if shown % 40 == 0:  # drawing takes its time
                assert page.render(subject).endswith("</html>")
    assert shown > 10
    assert "<svg" in page.render(Subject([evidence(manifest, **{name: document})])) or name == "verify"
