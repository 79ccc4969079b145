"""What is counted in a variant's graph lies near what the variant says of itself, by formulas of its own."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from edgeattn.attention import ATTENTION
from edgeattn.attention.variant import Shape
from edgeattn.crossover.block import core
from edgeattn.estimate.count import count
from edgeattn.estimate.graph import sized

TOKENS = 512


@pytest.mark.usefixtures("one_operator_table")
@pytest.mark.parametrize("name", ["dense", "hedgehog", "agent"])
def test_the_graph_of_a_variant_has_the_operations_of_its_formula(name):
    variant = ATTENTION[name](Shape(4, 32, 32**-0.5), ATTENTION[name].Options())
    model = ir.to_proto(core(variant, key_mask=True))
    batch, tokens, _ = (dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim)
    counted = count(sized(model, {batch: 1, tokens: TOKENS}))
    assert counted.flops == pytest.approx(variant.cost(variant.options, TOKENS, variant.shape).flops, rel=0.1)
