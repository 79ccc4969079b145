"""The timed graphs compute what the variants compute, and read all of their inputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from edgeattn.attention import ATTENTION
from edgeattn.attention.dense import FUSED
from edgeattn.attention.variant import Shape
from edgeattn.crossover.block import Core, add_projections, core, ending_uncopied
from edgeattn.export.onnx import save

HEADS, DIM = 2, 8
WIDTH = HEADS * DIM


def variant(name, **options):
    kind = ATTENTION[name]
    made = kind(Shape(HEADS, DIM, DIM**-0.5), kind.Options.model_validate(options)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return made


def tensors(n, names="qkv"):
    generator = torch.Generator().manual_seed(n)
    return {name: torch.randn(2, n, WIDTH, generator=generator) for name in names}


def run(path, feeds):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["out"], {name: np.asarray(x) for name, x in feeds.items()})[0]


@pytest.mark.parametrize(
    ("name", "options", "operators"),
    [
        ("dense", {}, frozenset({FUSED})),
        ("hedgehog", {"feature_dim": 4}, frozenset()),
        ("sliding_window", {}, frozenset()),
    ],
)
def test_the_core_is_the_variant_at_any_length(name, options, operators, tmp_path):
    made = variant(name, **options)
    save(core(made, key_mask=True, operators=operators), tmp_path / "model.onnx")
    held = {f"{node.domain}::{node.op_type}" for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert operators <= held
    for n in (1, 5, 300):
        feeds = tensors(n)
        mask = torch.arange(n) < torch.tensor([[n], [max(1, n // 2)]])
        with torch.no_grad():
            expected = Core(made)(**feeds, key_mask=mask)
        found = run(tmp_path / "model.onnx", {**feeds, "key_mask": mask})
        np.testing.assert_allclose(found[mask], expected[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operators", [frozenset(), frozenset({FUSED})], ids=["plain", "fused"])
def test_what_is_timed_alone_ends_before_a_copy(operators, tmp_path):
    graph = core(variant("dense"), key_mask=False, operators=operators)
    assert graph.graph.outputs[0].producer().op_type == "Reshape"
    with ending_uncopied(graph):
        assert graph.graph.outputs[0].producer().op_type == ("MultiHeadAttention" if operators else "Transpose")
        save(graph, tmp_path / "model.onnx")
    save(graph, tmp_path / "whole.onnx")
    feeds = tensors(9)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: x.numpy() for name, x in feeds.items()})
    assert found.shape == ((2, 9, WIDTH) if operators else (2, 9, HEADS, DIM))
    np.testing.assert_array_equal(found.reshape(2, 9, WIDTH), run(tmp_path / "whole.onnx", feeds))


def test_projections_go_around_the_core(tmp_path):
    graph = core(variant("dense"), key_mask=False)
    save(graph, tmp_path / "core.onnx")
    assert [value.name for value in onnx.load(tmp_path / "core.onnx").graph.input] == ["q", "k", "v"]
    add_projections(graph, WIDTH)
    save(graph, tmp_path / "block.onnx")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor)
               for tensor in onnx.load(tmp_path / "block.onnx").graph.initializer}  # fmt: skip

    def project(name, x):
        return x @ weights[f"projection.{name}.weight"] + weights[f"projection.{name}.bias"]

    for n in (1, 9):
        hidden = tensors(n, "x")["x"].numpy()
        mixed = run(tmp_path / "core.onnx", {name: project(name, hidden) for name in "qkv"})
        found = run(tmp_path / "block.onnx", {"hidden_states": hidden})
        np.testing.assert_allclose(found, project("out", mixed), rtol=1e-4, atol=1e-5)


def test_a_map_of_queries_and_keys_goes_into_the_projections_as_in_a_whole_model(tmp_path):
    graph = core(variant("hedgehog", feature_dim=4), key_mask=True)
    add_projections(graph, WIDTH)
    shapes = {name: tuple(value.shape.numpy()) for name, value in graph.graph.initializers.items()}
    assert [name for name, shape in shapes.items() if len(shape) == 3] == []
    assert sorted(shape for shape in shapes.values() if len(shape) == 2) == [
        *[(WIDTH, HEADS * 4)] * 2,
        *[(WIDTH, WIDTH)] * 2,
    ]
