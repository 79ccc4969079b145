"""The roofline of the operators of an engine, against arithmetic by hand."""

from __future__ import annotations

import math

import onnx
import pytest
from onnx import TensorProto, helper

from edgeattn.devices import load_device
from edgeattn.errors import InputError
from edgeattn.estimate.bounds import Bounds, work
from edgeattn.estimate.count import count
from edgeattn.estimate.graph import sized
from edgeattn.estimate.rates import Rates, peak_rates

ROWS, IN, OUT = 8, 16, 32
RATES = Rates(
    {("product", "fp32"): 1e9, ("elementwise", "fp32"): math.inf, ("transcendental", "fp32"): 1e8},
    bandwidth=[(1.0, 1e9)], kernel_s=1.0, overlaps=False, basis="by hand",
)  # fmt: skip


def product_and_gelu() -> onnx.ModelProto:
    """x [n, IN] -> y = Gelu(x W + x W) [n, OUT]; the product is read twice."""
    node = helper.make_node
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "p"], ["s"]), node("Gelu", ["s"], ["y"])]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", IN), ("y", OUT))
    )
    weight = helper.make_tensor("w", TensorProto.FLOAT, [IN, OUT], [0.5] * (IN * OUT))
    graph = helper.make_graph(nodes, "small", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.fixture
def bounds():
    return Bounds(count(sized(product_and_gelu(), {"n": ROWS})), RATES)


def test_an_operator_of_several_nodes_moves_only_what_enters_and_leaves_it(bounds):
    whole, alone = bounds.of([["p", "s", "y"]]), bounds.of([["p"], ["s"], ["y"]])
    ends = 4 * (ROWS * IN + IN * OUT + ROWS * OUT)
    inner = 4 * ROWS * OUT
    assert whole["bytes"] == ends
    assert alone["bytes"] == ends + 4 * inner, "each of the two tensors between them is written and read"
    assert whole["flops"] == alone["flops"] == 2 * ROWS * IN * OUT + 2 * ROWS * OUT


def test_the_roofline_is_the_longer_of_operations_and_bytes(bounds):
    operations_s = 2 * ROWS * IN * OUT / 1e9
    bytes_s = 4 * (ROWS * IN + IN * OUT + ROWS * OUT) / 1e9
    assert operations_s > bytes_s
    assert bounds.of([["p"]])["roofline_ms"] == pytest.approx(operations_s * 1e3), "and no start of a kernel"
    assert bounds.of([["s"]])["roofline_ms"] == pytest.approx(2 * 4 * ROWS * OUT / 1e9 * 1e3), "the sum only moves"


def test_what_has_no_rate_has_no_roofline():
    rates = Rates({("product", "fp32"): 1e9}, [(1.0, 1e9)], 0.0, overlaps=True, basis="")
    found = Bounds(count(sized(product_and_gelu(), {"n": ROWS})), rates).of([["y"]])
    assert found["roofline_ms"] is None
    assert found["flops"] == ROWS * OUT


def test_peaks_are_those_of_the_power_mode():
    device = load_device("jetson-orin-nano-8gb")
    usual, named = peak_rates(device), peak_rates(device, "7W")
    assert usual.mode == next(mode.name for mode in device.power_modes if mode.default)
    assert named.mode == "7W"
    assert named.ops_per_s["product", "fp16"] < usual.ops_per_s["product", "fp16"]
    assert usual.kernel_s == 0
    assert "jetson-orin-nano-8gb's dense peaks of " in usual.basis
    assert "in the power mode" in usual.basis


def test_a_profile_without_peaks_is_said(tmp_path):
    onnx.save(product_and_gelu(), tmp_path / "graph.onnx")
    profile = load_device("rtx").model_dump_json()
    argument = {"measured": None, "profile": profile, "power_mode": None, "cells": []}
    with pytest.raises(InputError, match="the profile of rtx has no peaks, which an estimate needs"):
        work(argument)


def test_a_cell_names_nodes_by_their_places(tmp_path):
    onnx.save(product_and_gelu(), tmp_path / "graph.onnx")
    cell = {"graph": str(tmp_path / "graph.onnx"), "sizes": {"n": ROWS}, "kinds": {"matmul": [[0, 1]], "other": [[2]]}}
    profile = load_device("raspberry-pi-5")
    argument = {"measured": None, "profile": profile.model_dump_json(), "power_mode": None, "cells": [cell]}
    found = work(argument)
    (kinds,) = (each["kinds"] for each in found["cells"])
    assert found["cells"][0]["flops"] == sum(kind["flops"] for kind in kinds.values())
    bytes_s = 4 * (ROWS * IN + IN * OUT + ROWS * OUT) / (profile.bandwidth_gb_per_s * 1e9)
    assert kinds["matmul"]["roofline_ms"] == pytest.approx(bytes_s * 1e3)
