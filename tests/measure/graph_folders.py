"""Small folders of graphs, as `edgeattn crossover --export` makes them, without torch."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgeattn.devices import load_device
from edgeattn.measure.graphs import GRAPH, Effort, Form, Graphs, Listing, write

HASTY = Effort(rounds=2, block_s=0.003, warm_s=0.003)
TEXT = """<ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>
core ({inputs}) => (float[b, n, 16] out) {{ {nodes} }}"""
INPUTS = {
    False: "float[b, n, 16] q, float[b, n, 16] k, float[b, n, 16] v",
    True: "float[b, n, 16] hidden_states",
}
NODES = {
    ("plain", False): "m = Add(q, k) out = Add(m, v)",
    ("MultiHeadAttention", False): "out = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v)",
    ("plain", True): "out = Neg(hidden_states)",
    ("MultiHeadAttention", True): "out = com.microsoft.MultiHeadAttention<num_heads = 2>"
    "(hidden_states, hidden_states, hidden_states)",
}  # fmt: skip


def graph(form: str, projections: bool) -> onnx.ModelProto:
    text = TEXT.format(inputs=INPUTS[projections], nodes=NODES[form, projections])
    return onnx.parser.parse_model(text)


def make(
    folder: Path,
    *variants: str,
    lengths: tuple[int, ...] = (4,),
    memory_bytes: dict[str, tuple[int, ...]] | None = None,
    one_length: dict[str, int] | None = None,
    runtimes: tuple[str, ...] = ("onnxruntime", "openvino"),
    effort: Effort = HASTY,
    **listing: object,
) -> Graphs:
    """Dense, plain and fused, and plain variants, each for all runtimes that can run it.

    memory_bytes: of a variant, at each length. one_length: of a variant that has graphs of one length only.
    """
    forms = []
    for variant, name in [("dense", "MultiHeadAttention"), ("dense", "plain"), *((each, "plain") for each in variants)]:
        for projections in (False, True):
            inside = f"{variant}-{name}-{'projections' if projections else 'core'}"
            (folder / inside).mkdir(parents=True)
            onnx.save(graph(name, projections), folder / inside / GRAPH)
            forms.append(
                Form(
                    variant=variant,
                    name=name,
                    projections=projections,
                    length=(one_length or {}).get(variant),
                    folder=inside,
                    runtimes=runtimes if name == "plain" else ("onnxruntime",),
                    memory_bytes=(memory_bytes or {}).get(variant, (1,) * len(lengths)),
                )
            )  # fmt: skip
    given = {
        "heads": 2, "head_dim": 8, "lengths": lengths, "causal": False, "key_mask": False, "batch_size": 1,
        "threads": 1, "options": {name: {} for name in variants}, "target": load_device("cpu"), "effort": effort,
        "opset": 20, "torch": "2.13", "forms": tuple(forms), "notes": (), "files": {},
    }  # fmt: skip
    return write(folder, Listing(**{**given, **listing}))
