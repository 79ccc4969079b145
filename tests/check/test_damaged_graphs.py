"""A damaged graph is refused or checked, and never ends in another exception."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest
from check_graphs import F32, I64, faults, save
from onnx import helper, numpy_helper

from edgeattn.check.files import check_file
from edgeattn.errors import EdgeattnError, ModelError

node = helper.make_node
_EACH = 150


@pytest.fixture
def graph(tmp_path):
    """Quantized, reduced, cut and compared: a node for most rules."""
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("MatMul", ["d", "w"], ["h"]),
        node("ReduceSum", ["h", "axes"], ["r"]),
        node("TopK", ["r", "k"], ["t", "i"]),
        node("Cast", ["t"], ["c"], to=onnx.TensorProto.FLOAT16),
        node("Slice", ["c", "zero", "k"], ["y"]),
    ]
    weights = {
        "s": np.float32(1), "z": np.int8(0), "w": np.ones((8, 6), np.float32),
        "axes": np.array([1]), "k": np.array([2]), "zero": np.array([0]),
    }  # fmt: skip
    return save(tmp_path / "a.onnx", nodes, {"x": (F32, [1, 4, 8])}, {"y": (onnx.TensorProto.FLOAT16, None)}, weights)


def refused_or_checked(path) -> bool:
    try:
        check_file(path)
        assert faults(path)
    except EdgeattnError:
        return True
    return False


@pytest.mark.parametrize("seed", range(2))
def test_flipped_bytes(graph, seed):
    whole, rng, refused = graph.read_bytes(), random.Random(seed), 0
    for _ in range(_EACH):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        graph.write_bytes(damaged)
        refused += refused_or_checked(graph)
    assert 0 < refused < _EACH


@pytest.mark.parametrize("seed", range(2))
def test_changed_nodes(graph, seed):
    whole, rng, refused = onnx.load(graph), random.Random(seed), 0
    for _ in range(_EACH):
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        changed = rng.choice(model.graph.node)
        what = rng.randrange(4)
        if what == 0:
            changed.op_type = rng.choice(
                ["Resize", "Attention", "OneHot", "If", "Loop", "Mod", "Range", "LpPool", "STFT"]
            )
        elif what == 1:
            del changed.input[-1]
        elif what == 2:
            changed.attribute.append(helper.make_attribute(rng.choice(["to", "axis", "sorted", "mode"]), [1, 2]))
        else:
            changed.input[0] = rng.choice(["", "w", "axes", "x"])
        graph.write_bytes(model.SerializeToString())
        refused += refused_or_checked(graph)
    assert 0 < refused < _EACH


def test_data_that_does_not_fill_its_shape(tmp_path):
    path = save(tmp_path / "a.onnx", [node("Add", ["x", "w"], ["y"])], {"x": (I64, [3])}, {"y": (I64, [3])},
                {"w": np.arange(3)})  # fmt: skip
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.arange(3), "w"))
    model.graph.initializer[0].raw_data = bytes(8)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="not a sound ONNX graph: the data of tensor 'w' does not fill its shape"):
        faults(path)
