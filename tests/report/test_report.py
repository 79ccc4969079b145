"""report.html and the terminal table: their sentences, and that no text in them acts as markup."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import bench_documents
import pytest
import tiny_bundle
from report_pages import evidence, render, visible

from edgeattn.bundle import FileEntry
from edgeattn.errors import BundleError
from edgeattn.manifest import PlanEntry
from edgeattn.report import text
from edgeattn.report.html import refresh
from edgeattn.report.page import render as render_page
from edgeattn.report.subject import Subject
from edgeattn.report.table import show, show_bench, show_verify
from edgeattn.report.words import WORDS


@pytest.fixture
def bench():
    return bench_documents.bench(
        {128: (0.9, 0.85, 0.95), 512: (1.01, 0.97, 1.05), 2048: (2.5, 2.4, 2.6)},
    )


@pytest.fixture
def verify():
    return bench_documents.verify()


@pytest.fixture
def build():
    return bench_documents.build()


@pytest.fixture
def manifest(tmp_path):
    made = tiny_bundle.make(tmp_path / "tiny").manifest
    phases = {"transfer": {"steps": 200, "loss": 0.5}}
    training = {"distill": phases, "untrained": {"spearman": 0.6138}, "student": {"spearman": 0.8199}}
    return made.model_copy(update={"training": training})


def test_the_page_says_what_was_measured_and_why(manifest, verify, bench, build):
    page = visible(render(manifest, verify=verify, bench=bench, build=build))
    for sentence in (
        "At 2048 tokens the efficient model is 2.50 x faster than the best dense one: 8 ms per inference in place of "
        "20 ms. Pays from about 450 tokens, measurably from 2048. Slower than dense at 128 tokens. It keeps the "
        "accuracy asked for: spearman 0.8203, at least 0.8129 was asked. Verified.",
        "speed 2.50 x faster than dense at 2048 tokens; 2.40 to 2.60 with 97 % confidence",
        "size on disk 4.0 x smaller 1 MB; dense 4 MB",
        "energy of an inference n/a",  # never 0
        "spearman 0.8211 0.6138 0.8199 0.8203 0.8129 passed",  # teacher, untrained, student, shipped, floor
        "layer 0 hedgehog features 16",
        "The efficient engine: plain int8-dynamic is the fastest that keeps the floor",
        "machine Cortex-A76, 4 cores",
        "128 20 22.2 0.90 x: slower than dense (0.85 to 0.95)",
        "512 20 19.8 no measurable difference from dense (1.01 x, 0.97 to 1.05)",
        "128 dense 21 n/a 4 600 90",  # p90, p99, outliers, samples, cold start
        "efficient 1 MB int8-dynamic onnxruntime 1.32.0",
        f"bundle {manifest.digest}",
        "bench.json is about another bundle, sha256:aaaa",
        "edgeattn bench BUNDLE --lengths 128,512,2048 --pairs 6 --threads 4",
        "teacher sha256:0000",
        "power mode n/a: the system does not say",
    ):
        assert sentence in page


def test_no_word_of_the_machine_s_own_names(manifest, verify, bench, build):
    bench["machine"] |= {"caches_bytes": {"L1d": 32768}, "instruction_sets": ["avx2"], "kernel": "6.1", "l4t": None}
    page = visible(render(manifest, verify=verify, bench=bench, build=build))
    for word in ("L1d", "caches", "_ms", "_mb", "_bytes", "None", "{'"):
        assert word not in page.partition("The recipe, with all defaults")[0]


def test_every_word_is_explained_once(manifest, verify, bench, build):
    page = render(manifest, verify=verify, bench=bench, build=build)
    explained = re.findall(r"<div><dt>([^<]+)</dt><dd>", page.replace('<dl class="facts">', ""))
    words = [word for word in explained if word in WORDS]
    assert len(words) == len(set(words)) > 10


def test_the_page_stands_alone(manifest, verify, bench, build):
    page = render(manifest, verify=verify, bench=bench, build=build, pictures=True)
    assert "default-src 'none'" in page
    for outside in ("http:", "https:", "src=", "@import", "<script", "<link", "<!DOCTYPE svg"):
        assert outside not in page
    assert re.findall(r"href=\"[^#]|url\([^#]", page) == []
    assert "prefers-color-scheme: dark" in page


def test_every_tag_is_closed_and_headings_are_in_order(manifest, verify, bench, build):
    class Balance(HTMLParser):
        open: list[str]
        headings: list[int]
        ids: list[str]

        def handle_starttag(self, tag, attrs):
            if tag != "meta":
                self.open.append(tag)
            if re.fullmatch("h[1-6]", tag):
                self.headings.append(int(tag[1]))
            self.ids += [value for name, value in attrs if name == "id"]

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    balance = Balance()
    balance.open, balance.headings, balance.ids = [], [], []
    balance.feed(render(manifest, verify=verify, bench=bench, build=build, pictures=True))
    assert balance.open == []
    assert balance.headings == [1] + [2] * (len(balance.headings) - 1)
    assert len(balance.ids) == len(set(balance.ids))


EVIL = "<script>alert(1)</script>\"'&$headline${x}{{ x }}`"


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # of a manifest that was not validated
@pytest.mark.parametrize("pictures", [True, False])
def test_nothing_from_outside_becomes_markup(manifest, verify, build, pictures):
    manifest = manifest.model_copy(
        update={
            "name": EVIL,
            "description": EVIL,
            "recipe": {EVIL: EVIL},
            "plan": (PlanEntry.model_construct(layer=0, variant=EVIL, options={EVIL: EVIL}),),
            "target": {"name": EVIL},
            "provenance": {EVIL: EVIL},
            "libraries": {EVIL: EVIL},
            "training": {
                "student": {EVIL: 0.5},
                "distill": {EVIL: {"loss": EVIL, "steps": EVIL, "curve": [[1, 2.0], [2, 1.0], [EVIL, EVIL]]}},
            },
            "files": {EVIL: FileEntry(sha256="sha256:" + "0" * 64, bytes=1)},
            "engines": {side: engine.model_copy(update={"method": EVIL}) for side, engine in manifest.engines.items()},
        }
    )
    verify = copy.deepcopy(verify)
    verify["metrics"][EVIL] = verify["metrics"]["spearman"]
    verify["golden"][EVIL] = verify["golden"]["sentence_embedding"]
    verify |= {"passed": False, "reasons": [EVIL]}
    bench = bench_documents.bench({128: (1.0, 0.9, 1.1), 512: (1.0, 0.9, 1.1)}, names=("dense", EVIL), unit=EVIL)
    bench["machine"] = bench["protocol"] = {EVIL: EVIL, "name": EVIL, "cpu_model": EVIL, "power_mode": EVIL}
    bench["created_utc"] = bench["threads"] = bench["pairs"] = EVIL
    bench["conditions"] = {
        "start": {"power_mode": EVIL, "governor": EVIL, "temperatures_c": {EVIL: 50}, "throttled": [EVIL]},
        "discarded": [{"pair": EVIL, "reason": EVIL}],
        "invalid": EVIL,
    }
    for name, facts in bench["contestants"].items():
        facts |= {"method": EVIL, "bundle": EVIL, "runtime": {"runtime": EVIL, EVIL: EVIL}}
        for cell in bench["cells"]:
            cell["contestants"][name] |= {"energy_mj": 1.0, "energy_scope": EVIL, "energy_source": EVIL}
    build["candidates"].append(
        bench_documents.candidate(EVIL, 1.0, EVIL, method=EVIL, runtime=EVIL, configuration=EVIL, metrics={EVIL: 1.0})
    )
    build["candidates"].append(bench_documents.candidate(EVIL, 1.0, EVIL, latency_ms={EVIL: 1.0}))
    build["efficient"] = {"because": EVIL}
    build["quantized"] = {EVIL: {"sensitivity": {EVIL: 0.1, "a": 0.2}, "left_in_float": [EVIL]}}
    profile = bench_documents.profile()
    for facts in profile["contestants"].values():
        facts["method"] = EVIL
        for part in (*facts["cells"][0]["kinds"], *facts["cells"][0]["operators"], *facts["cells"][0]["layers"]):
            part |= {key: EVIL for key in ("kind", "name", "layer") if key in part}
    documents = {"verify": verify, "bench": bench, "build": build, "profile": profile}
    one = evidence(manifest, **documents)
    both = [evidence(manifest, EVIL, **documents), evidence(manifest, f"{EVIL}2", **documents)]
    subjects = [
        Subject([one]),
        Subject([evidence(manifest)]),
        Subject(both),
        Subject(both, together={"bench": bench, "profile": profile}),
    ]
    for found in subjects:
        page = render_page(dataclasses.replace(found, pictures=pictures))
        assert "<script" not in page
        assert page.count("&lt;script&gt;") > 10


def test_an_estimate_is_called_one(manifest, verify, bench):
    for each in bench["cells"]:
        each["contestants"]["efficient"] |= {"energy_mj": 12.34, "energy_scope": "model"}
        each["contestants"]["dense"] |= {"energy_mj": 24.68, "energy_scope": "model"}
    page = visible(render(manifest, verify=verify, bench=bench))
    assert "128 efficient 12.3 n/a n/a estimate" in page
    assert "energy of an inference 50 % less 12.3 mJ; dense 24.7 mJ; an estimate from processor time" in page
    assert "energy is an estimate from CPU time" in page


def test_energies_of_different_scopes_are_not_compared(manifest, verify, bench):
    for name, scope in (("dense", "module"), ("efficient", "wall")):
        for each in bench["cells"]:
            each["contestants"][name] |= {"energy_mj": 12.34, "energy_scope": scope}
    page = visible(render(manifest, verify=verify, bench=bench))
    assert "energy of an inference n/a" in page
    assert "these energies do not compare" in page


def test_a_failed_verification_is_in_the_headline(manifest, verify, bench):
    verify |= {"passed": False, "reasons": ["spearman is 0.5, its floor is 0.8"]}
    page = render(manifest, verify=verify, bench=bench)
    assert 'class="headline failed"' in page
    assert "VERIFICATION FAILED: spearman is 0.5, its floor is 0.8." in page
    assert "accuracy not kept" in visible(page)


def test_before_anything_was_measured(manifest):
    page = visible(render(manifest))
    assert "Not measured yet." in page
    assert "Not verified yet: run edgeattn verify BUNDLE ." in page


def test_refresh_writes_it_into_the_bundle(tmp_path):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    assert refresh(bundle).read_text().startswith("<!doctype html>")
    assert "report.html" in bundle.manifest.files


@pytest.mark.parametrize(
    ("name", "content", "again"),
    [
        ("bench.json", '{"cells": 3}', "edgeattn bench"),
        ("verify.json", "[]", "edgeattn verify"),
        ("bench.json", "{", "edgeattn bench"),
        ("bench-server.json", '{"cells": [{}]}', "edgeattn bench --scenario server"),
        ("profile.json", '{"contestants": 1}', "edgeattn bench --profile"),
    ],
)
def test_evidence_that_cannot_be_shown_is_named(tmp_path, name, content, again):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    (bundle.path / name).write_text(content)
    with pytest.raises(BundleError, match=rf"{name}: cannot be shown: .*\n  fix: run `{again}` on the bundle"):
        refresh(bundle)


@pytest.mark.parametrize("value", [-1.0, 0, 1e300, float("nan"), "fast"])
def test_a_figure_that_cannot_be_is_refused(tmp_path, bench, value):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    bench["cells"][0]["contestants"]["dense"]["p50_ms"] = value
    (bundle.path / "bench.json").write_text(json.dumps(bench))
    with pytest.raises(BundleError, match=r"bench.json: cannot be shown: "):
        refresh(bundle)


def test_a_bundle_of_an_older_version(manifest, verify, build):
    """Without what later versions record."""
    bench = bench_documents.bench({128: (2.0, 1.9, 2.1), 512: (2.0, 1.9, 2.1)})
    for cell in bench["cells"]:
        for engine in cell["contestants"].values():
            del engine["p50_ms_by_pair"]
    page = visible(render(manifest, verify=verify, bench=bench, build=build, pictures=True))
    assert "Clocks, temperatures and discarded pairs: n/a: recorded by an earlier version" in page
    assert "The bundle has no training curve: an earlier version of edgeattn trained it." in page


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "n/a"), (0.0, "0"), (0.00741, "0.00741"), (1005.4, "1005"), (12.345, "12.3")]
)
def test_numbers(value, shown):
    assert text.number(value) == shown


def test_the_time_without_transfers_is_told_where_there_are_some(bench):
    assert not any("transfers" in note for note in text.footnotes(bench))
    for name, ms in (("dense", 1.25), ("efficient", 0.5)):
        bench["cells"][0]["contestants"][name]["p50_without_transfers_ms"] = ms
    (note,) = [note for note in text.footnotes(bench) if "transfers" in note]
    assert note == (
        "without transfers to and from the GPU, at 128: dense 1.25 ms, efficient 0.5 ms; its memory is not in the table"
    )


def test_the_plain_table_aligns_and_tells(bench, verify):
    stream = io.StringIO()
    bench["cells"][0]["contestants"]["dense"] |= {"steady": False, "p90_ms": None}
    show_bench(bench, stream)
    show_verify(verify, stream)
    printed = stream.getvalue().splitlines()
    assert printed[0].split()[:4] == ["tokens", "engine", "method", "p50"]
    assert printed[1].split()[:6] == ["128", "dense", "fp32", "20", "*", "n/a"]
    assert "2048 tokens: 2.50 x faster than dense (2.40 to 2.60)" in printed
    assert "Pays from about 450 tokens, measurably from 2048." in printed
    assert "the ranges are intervals of 96.9 % over 6 pairs of fresh processes" in printed
    assert any("never became steady" in line for line in printed)
    assert printed[-2].split() == ["spearman", "0.8203", "0.8211", "0.8129", "passed"]


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal_sequences_and_markup_are_shown_not_obeyed(terminal):
    class Stream(io.StringIO):
        def isatty(self):
            return terminal

    stream = Stream()
    show(["method"], [["\x1b]0;owned\x07[red]fp32[/red]\x1b[2J"]], stream)
    assert "[red]fp32[/red]" in stream.getvalue()
    assert "owned" not in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()
