"""Any change of bundle.json, engine.json, config.json or a recipe is read, or refused as bad input: no other error.

`EDGEATTN_FUZZ=5000 pytest tests/attacks/test_fuzz.py` tries 5000 changes of each file; the default takes seconds.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
import tiny_models
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeattn.bench.accuracy import check
from edgeattn.bench.bundles import bench
from edgeattn.bench.protocol import Protocol
from edgeattn.bundle import Bundle
from edgeattn.errors import DeviceError, InputError
from edgeattn.models.checks import check_folder
from edgeattn.models.teacher import check_output, load_teacher
from edgeattn.recipe import load_recipe
from edgeattn.report.html import evidence, refresh
from edgeattn.shipped import shipped

EXAMPLES = int(os.environ.get("EDGEATTN_FUZZ", "150"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
Place = tuple[str | int, ...]
REMOVED = object()

# Of each JSON type: empty, extreme, malformed and hostile values; and values of other fields.
VALUES: list[Any] = [
    *(REMOVED, None, True, False, [], {}, "", " ", [None], [[[[[]]]]], {"a": {"b": {"c": {}}}}),
    *(0, -1, 1, 2, 3, 2**31, 2**63, 10**30, 0.0, -0.5, 1.5, 5e-324, 1e308, float("nan"), float("inf"), -float("inf")),
    *(
        "x" * 5000,
        "\0",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "..",
        "\x1b[2J",
        "\u202e",
        "-o",
        ";rm",
        "no",
        "1",
        "1e3",
    ),
    *("fp32", "int8-dynamic", "onnxruntime", "dense.onnx", "engine/dense", "batch", "sequence", "spearman", "int64"),
]
FIELDS = ["surprise", "__class__", "", "schema", "name", "layers", "\ud800"]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """The path of each value in a document, and of the document itself."""
    yield at
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*at, key))


def changed(document: Any, at: Place, value: Any) -> Any:
    """The document with the value at `at` replaced or removed."""
    if not at:
        return {} if value is REMOVED else value
    document = copy.deepcopy(document)
    holder = document
    for key in at[:-1]:
        holder = holder[key]
    if value is REMOVED:
        del holder[at[-1]]
    else:
        holder[at[-1]] = value
    return document


@st.composite
def changes(draw: st.DrawFn, document: Any) -> Any:
    """One to three changes of a document."""
    for _ in range(draw(st.integers(1, 3))):
        known = list(places(document))
        at = draw(st.sampled_from(known))
        if draw(st.integers(0, 5)) == 0:
            at = (*at, draw(st.sampled_from(FIELDS)))
            if not isinstance(value_at(document, at[:-1]), dict):
                at = at[:-1]
        value = draw(st.sampled_from(VALUES) | st.integers() | st.floats() | st.text(max_size=20))
        if value is REMOVED and at not in known:
            value = None
        document = changed(document, at, value)
    return document


def value_at(document: Any, at: Place) -> Any:
    for key in at:
        document = document[key]
    return document


class Reached(Exception):
    """Raised where native code would start."""


def read(path: Path, target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that `verify` and `bench` do with a bundle before native code sees it. target: the unchanged one."""

    def native(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.setattr("edgeattn.worker._Child.__init__", native)
    bundle = Bundle.open(path)
    evidence(bundle)
    for use in (check, lambda bundle: bench([bundle])):
        with pytest.raises((Reached, InputError, DeviceError)) as ended:
            use(bundle)
        if isinstance(ended.value, DeviceError):  # exit code 4, and only for a change of the target
            assert bundle.manifest.target != target


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "tiny"
    tiny_bundle.make(path)
    return path


def bundle_survives(path: Path, file: str, document: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: (path / name).read_bytes() for name in ("bundle.json", file)}
    try:
        (path / file).write_text(json.dumps(document))
        if file != "bundle.json":
            tiny_bundle.sign(path)
        with contextlib.suppress(InputError):
            read(path, json.loads(before["bundle.json"])["target"], monkeypatch)
    finally:
        for name, content in before.items():
            (path / name).write_bytes(content)


@pytest.mark.parametrize("file", ["bundle.json", "engine/efficient/engine.json"])
def test_each_field_in_turn(original: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads((original / file).read_text())
    for number, at in enumerate(places(document)):
        for step in range(3):
            value = VALUES[(number * 3 + step) % len(VALUES)]
            bundle_survives(original, file, changed(document, at, value), monkeypatch)


@pytest.mark.parametrize("file", ["bundle.json", "engine/efficient/engine.json"])
def test_any_changes_of_a_signed_bundle(original: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads((original / file).read_text())

    @given(changes(document))
    @fuzz
    def fuzzed(changed_document: Any) -> None:
        bundle_survives(original, file, changed_document, monkeypatch)

    fuzzed()


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle with verify.json, bench.json and report.html."""
    bundle = tiny_bundle.make(tmp_path_factory.mktemp("measured") / "tiny")
    bundle.record("verify.json", check(bundle))
    short = Protocol.quick()
    short = replace(short, window_s=0.01, warm_min_s=0, warm_max_s=0.1, block_s=0.01, measure_max_s=0.1, energy_s=0.1)
    document = bench([bundle], pairs=1, protocol=short)
    bundle.record("bench.json", {**document, "raw": {}})
    return bundle


@pytest.mark.parametrize("name", ["verify.json", "bench.json"])
def test_any_changes_of_the_evidence_are_shown_or_refused(
    measured: Bundle, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "verify.json":  # nothing is drawn of it
        monkeypatch.setattr("edgeattn.report.pictures.available", lambda: False)
    original = json.loads((measured.path / name).read_text())

    @given(changes(original))
    @settings(fuzz, max_examples=EXAMPLES // 3)  # each writes a report to disk
    def fuzzed(document: Any) -> None:
        (measured.path / name).write_text(json.dumps(document))
        with contextlib.suppress(InputError):
            refresh(measured)

    try:
        fuzzed()
    finally:
        (measured.path / name).write_text(json.dumps(original))


def test_any_changes_of_a_recipe(tmp_path: Path) -> None:
    documents = [yaml.safe_load(path.read_text()) for path in sorted(shipped("recipes").glob("*.yaml"))]
    file = tmp_path / "recipe.yaml"

    @given(st.sampled_from(documents).flatmap(changes))
    @fuzz
    def fuzzed(document: Any) -> None:
        file.write_bytes(yaml.safe_dump(document, allow_unicode=False).encode("utf-8", "surrogatepass"))
        with contextlib.suppress(InputError):
            load_recipe(str(file))

    fuzzed()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher") / "bert"
    tiny_models.make("bert", layers=1)[0].save_pretrained(folder)
    return Path(tiny_models.tokenizer(folder))


def test_any_changes_of_a_model_s_config(teacher: Path) -> None:
    """Read as `compile` reads a teacher, down to its first output."""
    original, feeds = (teacher / "config.json").read_text(), tiny_models.feeds("bert")

    def read_teacher() -> None:
        check_folder(teacher)
        task = tiny_models.text_task(teacher)
        check_output(load_teacher(teacher, task), task, feeds, teacher)

    read_teacher()

    @given(changes(json.loads(original)))
    @settings(fuzz, max_examples=max(25, EXAMPLES // 5))  # finding the key that is at fault takes some time
    def fuzzed(document: Any) -> None:
        (teacher / "config.json").write_text(json.dumps(document))
        with contextlib.suppress(InputError):
            read_teacher()

    fuzzed()
