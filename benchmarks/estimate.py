"""How far `edgeattn estimate` is from what was measured. Run: python -m benchmarks.estimate [PART ...]

Parts: onnxruntime, openvino (MiniLM with random weights on this processor, on all of its cores, 5 minutes each; on a
quiet machine only), onnxruntime-1, openvino-1 (the same on one core, by CPU time, which others on the machine hardly
change), published (figures that others measured on a Jetson AGX Orin; needs no device). Without one, all run. A part
that is not run keeps the rows of its last run.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cpu_time import cpu_ms
from benchmarks.efficientvit import efficientvit
from benchmarks.minilm import RECIPE
from benchmarks.record import Row, run_parts
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.inputs import Arrays
from edgeattn.bench.leg import Engine
from edgeattn.devices import load_device, probe_cpu, usable_threads
from edgeattn.estimate.asked import Asked
from edgeattn.estimate.calibrate import measure, rates_of
from edgeattn.estimate.forms import Form
from edgeattn.estimate.fuse import Fusing, fuse
from edgeattn.estimate.predict import best, rows_of
from edgeattn.estimate.rates import profile_rates
from edgeattn.estimate.roofline import time
from edgeattn.estimate.untrained import asked_of_recipe
from edgeattn.export.onnx import export, save
from edgeattn.quantize import METHODS
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.recipe import load_recipe, to_document
from edgeattn.runtimes import RUNTIMES

LENGTHS = (128, 512, 2048)
SESSIONS = 3  # each measures the machine's rates and then the models, in fresh processes
METHODS_OF = {"onnxruntime": ("fp32", "int8-dynamic"), "openvino": ("fp32", "int8")}
AGX_ORIN = "jetson-agx-orin-64gb"
FP16, INT8 = Arithmetic("fp16", "fp16", 16), Arithmetic("int8", "fp16", 8)
# TensorRT, FP16, batch 1, with data transfers, on AGX Orin: mit-han-lab/efficientvit, applications/efficientvit_cls.
EFFICIENTVIT_MS = {
    ("B1", 224): 1.48, ("B1", 256): 1.57, ("B1", 288): 1.82,
    ("B2", 224): 2.63, ("B2", 256): 2.84, ("B2", 288): 3.30,
    ("B3", 224): 4.36, ("B3", 256): 4.74, ("B3", 288): 5.63,
}  # fmt: skip
BERT_LAYERS, BERT_TOKENS = 24, 384
NOTES = [
    "Predicted by `edgeattn estimate`, with the rates of the same session: a session measures the rates of the runtime "
    "(see `edgeattn.estimate.probes`) and then the models, each in a fresh process. On one core, measured is the least "
    "CPU time of a run; on all of them, the median latency.",
    "MiniLM has random weights and 2048 positions. The ratio is predicted / measured, the median over the sessions.",
    "No factor was fitted to a latency of this page; docs/estimate.md has the origin of each, and what was decided "
    "while looking at these figures.",
]


def on_this_machine(runtime: str, threads: int) -> list[Row]:
    """MiniLM dense and linear, by each method, in one runtime. threads: 1 for CPU time instead of latency."""
    ratios: dict[tuple[str, int], list[float]] = {}
    measured: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        asked = _minilm(Path(name))
        engines = dict(_engines(asked, runtime, Path(name), threads))
        for session in range(SESSIONS):
            rates = {runtime: [rates_of(measure(runtime, threads), "this session")]}
            took = {name: _took_ms(engine, session) for name, engine in engines.items()}
            for method in METHODS_OF[runtime]:
                forms = tuple(form for form in asked.forms if form.method == method)
                for (_, length), sides in best(rows_of(replace(asked, forms=forms), load_device("cpu"), rates)).items():
                    assert length is not None
                    for side, row in sides.items():
                        key = (f"{side} {method}", length)
                        measured.setdefault(key, []).append(
                            min(each[length] for name, each in took.items() if name.startswith(f"{side} {method},"))
                        )
                        ratios.setdefault(key, []).append(row.latency_ms / measured[key][-1])
            print(f"   session {session + 1} of {SESSIONS}", flush=True)
    case = f"{runtime}, {threads} {'core' if threads == 1 else 'cores'}"
    return [row for key in ratios for row in _rows(case, *key, ratios[key], measured[key])]


def _took_ms(engine: Engine, seed: int) -> dict[int, float]:
    """length -> milliseconds of a run."""
    feeds = [_feeds(length, seed) for length in LENGTHS]
    if engine.threads == 1:
        return dict(zip(LENGTHS, cpu_ms(engine, feeds), strict=True))
    return {
        length: statistics.median(quick_compare({"it": engine}, [each], rounds=3, block_s=0.3, warm_s=0.3)["it"])
        for length, each in zip(LENGTHS, feeds, strict=True)
    }


def _rows(case: str, name: str, length: int, ratios: Sequence[float], measured: Sequence[float]) -> Iterator[Row]:
    value, took = statistics.median(ratios), statistics.median(measured)
    goal = "0.75 to 1.25" if name.endswith("fp32") and case.startswith("onnxruntime") else None
    holds = 0.75 <= value <= 1.25 if goal else None
    case = f"MiniLM, N = {length}, {case}"
    yield Row(case, f"{name}, predicted", value * took, "ms", "measured here", took, value, goal, holds)
    yield Row(case, f"{name}, ratio, least of {len(ratios)} sessions", min(ratios), "x")
    yield Row(case, f"{name}, ratio, most of {len(ratios)} sessions", max(ratios), "x")


def _minilm(folder: Path) -> Asked:
    """The graphs of the recipe, before training, for 2048 tokens."""
    recipe = to_document(load_recipe(RECIPE).recipe)
    recipe["model"] |= {"extend_positions": max(LENGTHS)}
    recipe["quantize"] = {"methods": ["fp32", "int8-dynamic", "int8"]}
    file = folder / "recipe.yaml"
    file.write_text(json.dumps({key: value for key, value in recipe.items() if value is not None}))
    graphs = folder / "graphs"
    graphs.mkdir()
    return asked_of_recipe(load_recipe(str(file)), load_device("cpu"), graphs, LENGTHS)


def _engines(asked: Asked, runtime: str, folder: Path, threads: int) -> Iterator[tuple[str, Engine]]:
    """The forms by the runtime's methods; in ONNX Runtime without SkipLayerNormFusion, as the build would choose."""
    configuration = RUNTIMES[runtime].configurations(probe_cpu())[1 if runtime == "onnxruntime" else 0]
    calibration = [_feeds(length, seed) for seed, length in enumerate((32, 64, 96, 128, 128, 128))]
    for form in asked.forms:
        if form.method not in METHODS_OF[runtime]:
            continue
        method = METHODS[form.method]
        root = folder / f"{form.side}-{form.name}-{form.method}"
        root.mkdir()
        method.quantize(
            form.path, root / "model.onnx", cpu=probe_cpu(), calibration=calibration, options=method.Options()
        )
        RUNTIMES[runtime].build(root / "model.onnx", root / "engine", method=form.method, configuration=configuration)
        yield f"{form.side} {form.method}, {form.name}", Engine(root, root / "engine", runtime, threads)


def _feeds(length: int, seed: int = 0) -> Arrays:
    ids = np.random.default_rng(seed).integers(1000, 30000, (1, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def published() -> list[Row]:
    """BERT-large and EfficientViT on a Jetson AGX Orin at its highest clocks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bert_s = {
            mode: _bert_s(folder, device, mode)
            for mode, device in (("MAXN", AGX_ORIN), ("MODE_40W", "jetson-agx-orin-32gb"))
        }
        rows = [
            _published("BERT-large INT8, 384 tokens, AGX Orin 64 GB MAXN", bert_s["MAXN"], 5.70,
                       "MLPerf BERT-99, p90 single stream, TensorRT 8.5.2", goal=True),
            _published("BERT-large INT8, 384 tokens, AGX Orin 32 GB MODE_40W", bert_s["MODE_40W"], 7.88,
                       "MLPerf BERT-99, p90, MaxQ at clocks that are not published", goal=False),
        ]  # fmt: skip
        for size in dict.fromkeys(size for size, _ in EFFICIENTVIT_MS):
            for resolution in [each for other, each in EFFICIENTVIT_MS if other == size]:
                graph = folder / f"{size}-{resolution}.onnx"
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    torch.onnx.export(
                        efficientvit(size), (torch.zeros(1, 3, resolution, resolution),), graph,
                        dynamo=True, opset_version=18, verbose=False,
                    )  # fmt: skip
                seconds = _seconds(graph, {}, FP16, AGX_ORIN, "MAXN")
                rows.append(
                    _published(f"EfficientViT-{size} FP16, {resolution} x {resolution}, AGX Orin 64 GB MAXN", seconds,
                               EFFICIENTVIT_MS[size, resolution], "mit-han-lab/efficientvit, TensorRT, with transfers",
                               goal=(size, resolution) == ("B1", 224))
                )  # fmt: skip
                graph.unlink()
    return rows


def _published(case: str, seconds: float, measured_ms: float, source: str, *, goal: bool) -> Row:
    ratio = seconds * 1e3 / measured_ms
    holds = 0.5 <= ratio <= 2 if goal else None
    return Row(
        case, "latency, predicted", seconds * 1e3, "ms", source, measured_ms, ratio, "0.5 to 2" if goal else None, holds
    )


def _bert_s(folder: Path, device: str, mode: str) -> float:
    """Seconds of 24 equal layers, from the graphs of two and of four: the whole has 1.3 GB of weights."""
    from transformers import BertConfig, BertForQuestionAnswering

    found = {}
    for layers in (2, 4):
        graph = folder / f"bert-{layers}.onnx"
        if not graph.exists():
            config = BertConfig(
                hidden_size=1024, num_hidden_layers=layers, num_attention_heads=16, intermediate_size=4096
            )
            names = ("input_ids", "attention_mask", "token_type_ids")
            example = {name: torch.ones(2, 64, dtype=torch.long) for name in names}
            exported, _ = export(
                BertForQuestionAnswering(config).eval(), example,
                {name: {0: "batch", 1: "sequence"} for name in names}, opset=17,
            )  # fmt: skip
            save(exported, graph)
        found[layers] = _seconds(graph, {"sequence": BERT_TOKENS}, INT8, device, mode)
    return found[2] + (BERT_LAYERS - 2) / 2 * (found[4] - found[2])


def _seconds(graph: Path, sizes: Mapping[str, int], arithmetic: Arithmetic, device: str, mode: str) -> float:
    form = Form(graph, "dense", "plain", "fp32", arithmetic=arithmetic)
    rates = next(each for each in profile_rates(load_device(device)) if each.mode == mode)
    return time(fuse(form.counted(sizes), Fusing(chains=True, attention=True)), rates).seconds


PARTS: Mapping[str, Any] = {
    **{runtime: partial(on_this_machine, runtime, usable_threads()) for runtime in METHODS_OF},
    **{f"{runtime}-1": partial(on_this_machine, runtime, 1) for runtime in METHODS_OF},
    "published": published,
}

if __name__ == "__main__":
    run_parts("estimate", PARTS, sys.argv[1:], NOTES)
