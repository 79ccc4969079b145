"""What every attention variant promises. A new entry of the registry is tested by itself, with its defaults."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from edgeattn.attention import ATTENTION, check_options
from edgeattn.attention.variant import Shape
from edgeattn.errors import InputError

# Options beside the defaults that are worth a test of their own.
MORE = {
    "hedgehog": [{"feature_dim": 4}, {"feature_dim": 24}],
    "sliding_window": [{"window": 4, "global_tokens": 2}, {"window": 8, "global_tokens": 0}],
}
CASES = [(name, options) for name in ATTENTION for options in [{}, *MORE.get(name, [])]]
QUADRATIC = {"dense"}
LENGTHS = (1, 2, 5, 16, 37, 130)
MASKS = ("none", "right", "left", "random", "empty row")

every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=lambda x: x if isinstance(x, str) else str(x))
every_variant = pytest.mark.parametrize("name", list(ATTENTION))


def variant(name, options=None, *, heads=2, d=8):
    """With parameters that are not where they start, as after training."""
    kind = ATTENTION[name]
    made = kind(Shape(heads=heads, head_dim=d, scaling=d**-0.5), kind.Options.model_validate(options or {}))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made.eval()


def inputs(n, *, b=3, h=2, d=8, dv=None, seed=0, std=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(b, h, n, size, generator=generator, dtype=torch.float64) * std).to(dtype)
        for size in (d, d, dv or d)
    ]


def key_mask(kind, b, n):
    if kind == "none":
        return None
    if kind == "random":
        return torch.rand(b, n, generator=torch.Generator().manual_seed(n)) < 0.6
    lengths = torch.tensor([n, max(1, n // 2), 0 if kind == "empty row" else 1])[:b]
    mask = torch.arange(n) < lengths[:, None]
    return mask.flip(1) if kind == "left" else mask


def close_on_real(found, expected, mask, tolerance=1e-5):
    """found, expected: [B, H, N, D]. Of padded queries only that they are finite."""
    assert torch.isfinite(found).all()
    assert found.shape == expected.shape
    if mask is not None:
        found, expected = (x.transpose(1, 2)[mask] for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@every_case
@pytest.mark.parametrize("kind", MASKS)
def test_forward_is_the_reference(name, options, kind):
    made = variant(name, options)
    for n in LENGTHS:
        for dv in (8, 5):
            q, k, v = inputs(n, dv=dv, seed=n)
            mask = key_mask(kind, 3, n)
            close_on_real(made(q, k, v, mask), made.reference(q, k, v, mask), mask)


@every_variant
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_forward_is_the_reference_for_any_shape_and_mask(name, data):
    b, h, n, d, dv = (data.draw(st.integers(1, most), label=label) for label, most in
                      (("B", 3), ("H", 3), ("N", 40), ("D", 9), ("Dv", 9)))  # fmt: skip
    mask = torch.tensor(data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=b, max_size=b)))
    q, k, v = inputs(n, b=b, h=h, d=d, dv=dv, seed=data.draw(st.integers(0, 99)))
    made = variant(name, heads=h, d=d)
    close_on_real(made(q, k, v, mask), made.reference(q, k, v, mask), mask)


@every_case
@pytest.mark.parametrize("kind", ["right", "left", "random"])
def test_padded_keys_do_not_influence_real_outputs(name, options, kind):
    made = variant(name, options)
    q, k, v = inputs(37)
    mask = key_mask(kind, 3, 37)
    noise = torch.where(mask[:, None, :, None], 0.0, 100.0)
    close_on_real(made(q, k + noise, v - noise, mask), made(q, k, v, mask), mask)


@every_case
def test_a_fully_padded_row_is_finite_in_half_precision(name, options):
    """Scores below -16 on top of the lowest fp16 number are -inf, and a row of these is NaN."""
    made = variant(name, options)
    q = torch.full((1, 2, 20, 8), 20.0).half()
    mask = torch.zeros(1, 20, dtype=torch.bool)
    with torch.no_grad():
        assert torch.isfinite(made(q, -q, q, mask)).all()


@every_case
def test_gradients_are_those_of_finite_differences(name, options):
    made = variant(name, options, heads=1, d=2).double()
    q, k, v = (x.requires_grad_() for x in inputs(5, b=2, h=1, d=2, dtype=torch.float64))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    with torch.no_grad():
        keeps_float64 = not torch.equal(made(q, k, v), made(q, k, v * (1 + 1e-10)))
    # A variant that reduces in fp32 resolves no step of 1e-6: its differences are taken wider, and are that inexact.
    step = {"eps": 1e-6, "atol": 1e-6} if keeps_float64 else {"eps": 1e-2, "atol": 2e-3, "rtol": 1e-2}

    def real_outputs(q, k, v, *_):
        return made(q, k, v, mask).transpose(1, 2)[mask]

    assert torch.autograd.gradcheck(real_outputs, (q, k, v, *made.transfer_parameters()), **step)


@every_case
def test_backward_reaches_every_transfer_parameter(name, options):
    made = variant(name, options)
    mask = key_mask("empty row", 3, 16)
    q, k, v = (x.requires_grad_() for x in inputs(16))
    made(q, k, v, mask).square().sum().backward()
    for parameter in (*made.transfer_parameters(), q, k, v):
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0


@every_case
def test_cost_grows_as_it_should(name, options):
    kind = ATTENTION[name]
    chosen, shape = kind.Options.model_validate(options), Shape(heads=4, head_dim=32, scaling=1.0)
    costs = [kind.cost(chosen, n, shape) for n in (4096, 8192, 16384)]
    for small, large in pairwise(costs):
        low, high = (3.5, 4.01) if name in QUADRATIC else (1.9, 2.1)
        assert low < large.flops / small.flops < high
        assert low < large.bytes / small.bytes < high
    if name not in QUADRATIC:
        dense = ATTENTION["dense"].cost(ATTENTION["dense"].Options(), 16384, shape)
        assert costs[-1].flops < dense.flops / 10
        assert costs[-1].bytes < dense.bytes / 10


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_holds_at_4096_tokens(name, options, dtype):
    made = variant(name, options, heads=1, d=16)
    q, k, v = inputs(4096, b=1, h=1, d=16, std=3.0)
    with torch.no_grad():
        exact = made(q, k, v)
        found = made(*(x.to(dtype) for x in (q, k, v)))
    assert found.dtype == dtype
    assert torch.isfinite(found).all()
    # Scores of several tens lose up to 0.1 in bf16, a tenth of a softmax weight.
    worst = 0.02 if dtype == torch.float16 else 0.15
    assert (found.float() - exact).norm() < worst * exact.norm()


def exported(made):
    axes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("sequence", min=1)}
    program = torch.onnx.export(
        made, (*inputs(12, b=2), torch.ones(2, 12, dtype=torch.bool)), dynamo=True, opset_version=20, verbose=False,
        input_names=["q", "k", "v", "key_mask"], output_names=["out"],
        dynamic_shapes=[axes, axes, axes, {0: axes[0], 1: axes[2]}],
    )  # fmt: skip
    file = io.BytesIO()
    onnx.save(program.model_proto, file)
    return file.getvalue()


@every_variant
def test_exports_to_standard_onnx(name):
    """One layer, with standard operators only, at other batch sizes and lengths than it was traced with."""
    options = MORE[name][0] if name in MORE else {}
    made = variant(name, options)
    graph = exported(made)
    assert {entry.domain for entry in onnx.load_from_string(graph).opset_import} <= {"", "ai.onnx"}
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for b, n in ((3, 37), (3, 12), (1, 1), (2, 130)):
        q, k, v = inputs(n, b=b)
        mask = key_mask("right", b, n)
        feeds = {key: x.numpy() for key, x in zip(("q", "k", "v", "key_mask"), (q, k, v, mask), strict=True)}
        (out,) = session.run(["out"], feeds)
        with torch.no_grad():
            close_on_real(torch.from_numpy(out), made(q, k, v, mask), mask, 1e-4)


@every_variant
def test_an_unknown_option_is_refused_with_the_nearest(name):
    fields = list(ATTENTION[name].Options.model_fields)
    if not fields:
        with pytest.raises(ValueError, match=f"^option 'window': {name} has no options$"):
            check_options(name, {"window": 4})
    for field in fields:
        with pytest.raises(ValueError, match=f"option '{field}s' is not one of {name}'s; did you mean '{field}'"):
            check_options(name, {f"{field}s": 4})


def test_an_unknown_variant_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown attention variant 'hedgehogs'\n  fix: did you mean 'hedgehog'"):
        check_options("hedgehogs", {})


@every_variant
def test_says_where_it_comes_from(name):
    assert ATTENTION[name].name == name
    assert ATTENTION[name].source
    assert ATTENTION[name].bidirectional or ATTENTION[name].causal


def test_dense_is_scaled_dot_product_attention():
    q, k, v = inputs(37, dv=5)
    mask = key_mask("random", 3, 37)
    mask[:, 0] = True
    expected = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
    torch.testing.assert_close(variant("dense")(q, k, v, mask), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 5, 16, 37])
@pytest.mark.parametrize("global_tokens", [0, 1, 3])
def test_a_window_of_twice_the_sequence_is_dense(n, global_tokens):
    q, k, v = inputs(n)
    mask = key_mask("right", 3, n)
    wide = variant("sliding_window", {"window": 2 * n, "global_tokens": global_tokens})
    close_on_real(wide(q, k, v, mask), variant("dense")(q, k, v, mask), mask)


def test_a_window_sees_half_before_and_half_after():
    n, window = 20, 6
    q, k, _ = inputs(n, b=1, h=1)
    v = torch.eye(n)[None, None]  # the output is the map itself
    seen = variant("sliding_window", {"window": window, "global_tokens": 1}, heads=1)(q, k, v)[0, 0] > 0
    for i in range(n):
        near = {j for j in range(n) if abs(i - j) <= 3 or i == 0 or j == 0}
        assert set(np.flatnonzero(seen[i].numpy())) == near


def test_hedgehog_is_its_explicit_map():
    """Equation 6 of the paper, one query and one key at a time."""
    made = variant("hedgehog", {"feature_dim": 4}, heads=1, d=3)
    q, k, v = inputs(7, b=1, h=1, d=3)

    def phi(x, weight):
        return torch.cat([(x @ weight).softmax(0), (-(x @ weight)).softmax(0)])

    rows = []
    for i in range(7):
        weights = torch.stack([phi(q[0, 0, i], made.query_map[0]) @ phi(k[0, 0, j], made.key_map[0]) for j in range(7)])
        rows.append(weights @ v[0, 0] / weights.sum())
    torch.testing.assert_close(made(q, k, v)[0, 0], torch.stack(rows), rtol=1e-5, atol=1e-5)


def test_hedgehog_starts_as_softmax_of_scaled_inputs():
    """The identity map at the start, so that training begins near what softmax attends to."""
    shape = Shape(heads=2, head_dim=8, scaling=8**-0.5)
    made = ATTENTION["hedgehog"](shape, ATTENTION["hedgehog"].Options())
    torch.testing.assert_close(made.query_map[1], torch.eye(8) * 8**-0.25)
