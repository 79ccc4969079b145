"""report.html and the terminal table: their sentences, and that no text in them acts as markup."""

from __future__ import annotations

import copy
import io
import re
from html.parser import HTMLParser

import bench_documents
import pytest
import tiny_bundle

from edgeattn.bundle import FileEntry
from edgeattn.errors import BundleError
from edgeattn.manifest import PlanEntry
from edgeattn.report import text
from edgeattn.report.html import comparison, refresh, render
from edgeattn.report.table import show, show_bench, show_verify


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
    phases = [{"steps": 200, "loss": 0.5}]
    training = {"distill": phases, "untrained": {"spearman": 0.6138}, "student": {"spearman": 0.8199}}
    return made.model_copy(update={"training": training})


def visible(page):
    """The text of a page as a reader sees it."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.partition("</style>")[2]))


def test_the_page_says_what_was_measured_and_why(manifest, verify, bench, build):
    page = visible(render(manifest, verify, bench, build))
    for sentence in (
        "At 2048 tokens: 2.50 x faster than dense (2.40 to 2.60). Pays from about 450 tokens, measurably from 2048. "
        "Slower than dense at 128 tokens. spearman 0.8203, teacher 0.8211. Verified.",
        "spearman 0.8211 0.6138 0.8199 0.8203 0.8129 passed",  # teacher, student, shipped, floor
        "0 hedgehog features 16",
        "distill steps 200, loss 0.5",
        "The efficient engine plain int8-dynamic is the fastest that keeps the floor",
        "cpu model Cortex-A76",
        "max mhz n/a",
        "128 20 22.2 0.90 x: slower than dense (0.85 to 0.95)",
        "512 20 19.8 no measurable difference from dense (1.01 x, 0.97 to 1.05)",
        "128 dense 21 100 n/a",  # energy, never 0
        "efficient int8-dynamic onnxruntime 90 1 MB sha256:aaaaaaaaaaaa",
        f"bundle {manifest.digest}",
        "bench.json is about another bundle, sha256:aaaa",
        "edgeattn bench BUNDLE --lengths 128,512,2048 --pairs 6 --threads 4",
        "teacher sha256:0000",
    ):
        assert sentence in page


def test_the_page_stands_alone(manifest, verify, bench):
    page = render(manifest, verify, bench)
    assert "default-src 'none'" in page
    for outside in ("http:", "https:", "src=", "href=", "@import", "url(", "<script", "<link"):
        assert outside not in page
    assert "prefers-color-scheme: dark" in page


def test_every_tag_is_closed(manifest, verify, bench, build):
    class Balance(HTMLParser):
        open: list[str]

        def handle_starttag(self, tag, attrs):
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    balance = Balance()
    balance.open = []
    balance.feed(render(manifest, verify, bench, build))
    assert balance.open == []


EVIL = "<script>alert(1)</script>\"'&$headline${x}"


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # of a manifest that was not validated
def test_nothing_from_outside_becomes_markup(manifest, verify, build):
    manifest = manifest.model_copy(
        update={
            "name": EVIL,
            "description": EVIL,
            "recipe": {EVIL: EVIL},
            "plan": (PlanEntry.model_construct(layer=EVIL, variant=EVIL, options={EVIL: EVIL}),),
            "target": {"name": EVIL},
            "provenance": {EVIL: EVIL},
            "libraries": {EVIL: EVIL},
            "training": {"student": {EVIL: EVIL}, EVIL: [EVIL]},
            "files": {EVIL: FileEntry(sha256="sha256:" + "0" * 64, bytes=1)},
            "engines": {side: engine.model_copy(update={"method": EVIL}) for side, engine in manifest.engines.items()},
        }
    )
    verify = copy.deepcopy(verify)
    verify["metrics"][EVIL] = verify["metrics"]["spearman"]
    verify["golden"][EVIL] = verify["golden"]["sentence_embedding"]
    verify |= {"passed": False, "reasons": [EVIL]}
    bench = bench_documents.bench({128: (1.0, 0.9, 1.1), 512: (1.0, 0.9, 1.1)}, names=("dense", EVIL), unit=EVIL)
    bench["machine"] = bench["protocol"] = {EVIL: EVIL, "name": EVIL}
    bench["created_utc"] = bench["threads"] = bench["pairs"] = EVIL
    for name, facts in bench["contestants"].items():
        facts |= {"method": EVIL, "bundle": EVIL, "runtime": {"runtime": EVIL}}
        for cell in bench["cells"]:
            cell["contestants"][name] |= {"energy_mj": 1.0, "energy_scope": EVIL}
    build["candidates"].append(
        bench_documents.candidate(EVIL, 1.0, EVIL, method=EVIL, runtime=EVIL, configuration=EVIL, metrics={EVIL: 1.0})
    )
    build["candidates"].append(bench_documents.candidate(EVIL, 1.0, EVIL, latency_ms={EVIL: 1.0}))
    build["efficient"] = {"because": EVIL}
    for page in (render(manifest, verify, bench, build), render(manifest, verify, bench), comparison(bench)):
        assert "<script" not in page
        assert page.count("&lt;script&gt;") > 20


def test_an_estimate_is_called_one(manifest, verify, bench):
    for each in bench["cells"]:
        each["contestants"]["efficient"] |= {"energy_mj": 12.34, "energy_scope": "model"}
    page = visible(render(manifest, verify, bench))
    assert "128 efficient 21 100 12.3 mJ (estimate)" in page
    assert "energy is an estimate from CPU time" in page


def test_a_failed_verification_is_in_the_headline(manifest, verify, bench):
    verify |= {"passed": False, "reasons": ["spearman is 0.5, its floor is 0.8"]}
    page = render(manifest, verify, bench)
    assert 'class="headline failed"' in page
    assert "VERIFICATION FAILED: spearman is 0.5, its floor is 0.8." in page


def test_before_anything_was_measured(manifest):
    page = visible(render(manifest, None, None))
    assert "Not measured yet." in page
    assert "Not verified yet: run edgeattn verify." in page


def test_refresh_writes_it_into_the_bundle(tmp_path):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    assert refresh(bundle).read_text().startswith("<!doctype html>")
    assert "report.html" in bundle.manifest.files


@pytest.mark.parametrize(
    ("name", "content"), [("bench.json", '{"cells": 3}'), ("verify.json", "[]"), ("bench.json", "{")]
)
def test_evidence_that_cannot_be_shown_is_named(tmp_path, name, content):
    bundle = tiny_bundle.make(tmp_path / "tiny")
    (bundle.path / name).write_text(content)
    command = name.removesuffix(".json")
    with pytest.raises(
        BundleError, match=rf"{name}: cannot be shown: .*\n  fix: run `edgeattn {command}` on the bundle"
    ):
        refresh(bundle)


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
