"""Small ONNX files, one per rule of the graph check, and the releases that they are checked for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeattn.check.finding import Fault
from edgeattn.check.graph import view
from edgeattn.check.parsers import parsers_of
from edgeattn.check.rules import RULES
from edgeattn.check.sound import load
from edgeattn.devices import DeviceProfile, load_device
from edgeattn.devices.load import UNKNOWN
from edgeattn.export.rewrite import write_out_layer_norms

F32, F16, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def jetson() -> DeviceProfile:
    return load_device("jetson", probed=UNKNOWN)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[int, Sequence[Any]]],
    outputs: Mapping[str, tuple[int, Sequence[Any] | None]],
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> Path:
    """weights: name -> array. inputs, outputs: name -> element type, shape; None: the shape that is inferred."""
    values = [[helper.make_tensor_value_info(name, *each) for name, each in v.items()] for v in (inputs, outputs)]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(helper.make_graph(nodes, "small", *values, stored), opset_imports=imports, ir_version=8)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def faults(path: Path, profile: DeviceProfile | None = None) -> dict[str, list[Fault]]:
    """Parser -> its faults, checked in this process."""
    graph = view(load(path), path)
    return {
        (parser.version if parser.runtime == "tensorrt" else None) or parser.runtime: [
            fault for rule in RULES for fault in rule(graph, parser)
        ]
        for parser in parsers_of(profile or jetson())
    }


def said(path: Path, profile: DeviceProfile | None = None) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """(severity, rule, fact) -> the versions that have the fault."""
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for version, each in faults(path, profile).items():
        for fault in each:
            key = (fault.severity, fault.rule, fault.fact)
            found[key] = tuple(dict.fromkeys((*found.get(key, ()), version)))
    return found


def refused_by_a_jetson(graph: Path) -> dict[str, list[str]]:
    """Parser -> why it refuses the graph as a compile ships it, its norms written out; empty where all take it."""
    shipped = graph.with_name(f"shipped-{graph.name}")
    shutil.copyfile(graph, shipped)
    write_out_layer_norms(shipped)
    found = faults(shipped)
    errors = {name: [fault for fault in each if fault.severity == "error"] for name, each in found.items()}
    return {name: [f"{fault.node}: {fault.fact}" for fault in each] for name, each in errors.items() if each}
