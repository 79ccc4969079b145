"""The shapes that engines are built for."""

from __future__ import annotations

from pathlib import Path

import tiny_bundle

from edgeattn.build.shapes import shape_ranges
from edgeattn.bundle import Bundle
from edgeattn.manifest import BenchSpec
from edgeattn.runtimes.base import ShapeRange


def with_bench(folder: Path, lengths: tuple[int, ...] | None, batch_size: int = 1) -> Bundle:
    bundle = tiny_bundle.make(folder / "tiny")
    bench = BenchSpec(lengths=lengths, batch_size=batch_size, pairs=3)
    bundle.manifest = bundle.manifest.model_copy(update={"bench": bench})
    return bundle


def test_there_is_one_range_per_timed_length(tmp_path: Path) -> None:
    short, long = shape_ranges(with_bench(tmp_path, (64, 16)))
    assert short == dict.fromkeys(("input_ids", "attention_mask"), ShapeRange((1, 1), (1, 16), (1, 16)))
    assert long["input_ids"] == ShapeRange((1, 1), (1, 64), (1, 64))


def test_the_last_one_takes_samples_that_are_longer_than_what_is_timed(tmp_path: Path) -> None:
    short, long = shape_ranges(with_bench(tmp_path, (4, 8)))
    assert short["input_ids"].most == (1, 4)
    assert long["input_ids"] == ShapeRange((1, 1), (1, 8), (1, tiny_bundle.LENGTH))


def test_without_lengths_the_samples_decide(tmp_path: Path) -> None:
    (only,) = shape_ranges(with_bench(tmp_path, None, batch_size=4))
    size = (4, tiny_bundle.LENGTH)
    assert only["attention_mask"] == ShapeRange((1, 1), size, size)
