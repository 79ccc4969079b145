"""What quantization methods keep of an unbuilt bundle's models, on its held-out data: rows for benchmarks.targets.

rows = accuracy(Bundle.open("build/minilm-jetson")) + sensitivity(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from benchmarks.record import Row
from edgeattn.bench.inputs import one_by_one
from edgeattn.bundle import Bundle
from edgeattn.manifest import SIDES, Candidate
from edgeattn.metrics import keep, row_cosines, score
from edgeattn.padding import stack
from edgeattn.quantize.rounding import rounded
from edgeattn.quantize.session import session

# method -> the least mean cosine to fp32 on held-out samples, and the most of the metric that it may cost
GOALS = {"fp16": (0.9999, 0.005), "int8": (0.99, 0.005), "int8-fp16": (0.99, 0.005)}


def accuracy(bundle: Bundle) -> list[Row]:
    """The cosine and the task's metric of each plain candidate beside those of fp32. fp16 is rounded as a GPU does."""
    rows: list[Row] = []
    for side in SIDES:
        plain = {each.method: each for each in bundle.manifest.candidates if each.side == side and each.form == "plain"}
        exact, exact_metric = _run(bundle, plain["fp32"])
        for method, candidate in plain.items():
            if method == "fp32":
                continue
            found, value = _run(bundle, candidate)
            goals = GOALS.get(method)
            for output, array in found.items():
                cosines = row_cosines(array, exact[output])
                mean, least = float(cosines.mean()), float(cosines.min())
                case = f"{bundle.manifest.name}, {side} {method}"
                goal = None if goals is None else f">= {goals[0]}"
                holds = None if goals is None else mean >= goals[0]
                rows.append(Row(case, f"cosine of {output} to fp32, mean of {len(cosines)}", mean, "", goal=goal,
                                holds=holds))  # fmt: skip
                rows.append(Row(case, f"cosine of {output} to fp32, least", least, ""))
            name = bundle.manifest.task.accept_metric
            share = value[name] / exact_metric[name]
            rows.append(Row(case, name, value[name], "", "fp32", exact_metric[name], share,
                            None if goals is None else f">= {1 - goals[1]}",
                            None if goals is None else share >= 1 - goals[1]))  # fmt: skip
    return rows


def _run(bundle: Bundle, candidate: Candidate) -> tuple[dict[str, Any], dict[str, float]]:
    """The outputs on the held-out data, and the task's metrics of them."""
    path = bundle.path / candidate.folder / candidate.graph
    model = ir.load(path)
    runner = session(rounded(model) if "fp16" in candidate.method else model, path.parent)
    names = [output.name for output in runner.get_outputs()]
    arrays, kind = bundle.arrays("eval"), bundle.manifest.task.kind
    outputs: dict[str, list[Any]] = {name: [] for name in names}
    kept: dict[str, list[Any]] = {}
    for feeds in one_by_one(bundle.manifest, arrays):
        found = dict(zip(names, runner.run(names, feeds), strict=True))
        for name, array in found.items():
            outputs[name].append(array.reshape(1, -1))
        for name, array in keep(kind, found, feeds).items():
            kept.setdefault(name, []).append(array)
    whole = {name: stack(parts) for name, parts in kept.items()}
    return {name: stack(parts) for name, parts in outputs.items()}, score(kind, whole, arrays)


def sensitivity(bundle: Bundle) -> list[Row]:
    """The layers that cost most under int8, each alone, and how many were left in float."""
    return [row for each in bundle.manifest.candidates if each.method == "int8" for row in _layers(bundle, each)]


def _layers(bundle: Bundle, candidate: Candidate) -> Iterator[Row]:
    case, errors = f"{bundle.manifest.name}, {candidate.name}", candidate.facts["sensitivity"]
    left = candidate.facts["left_in_float"]
    yield Row(case, f"layers left in float, of {len(errors)}", len(left), "")
    yield Row(case, "1 - cosine, median of one layer alone", float(np.median(list(errors.values()))), "")
    for layer in sorted(errors, key=errors.__getitem__, reverse=True)[:3]:
        yield Row(case, f"1 - cosine, {layer} alone", errors[layer], "")
