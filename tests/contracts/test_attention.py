"""What every attention variant promises. A new entry of the registry is tested by itself, with its defaults."""

from __future__ import annotations

import io
import warnings
from itertools import pairwise

import check_graphs
import onnx
import pytest
import runtimes_here
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from key_masks import KINDS, key_mask
from torch import nn
from torch.fx.experimental import _config as symbolic
from torch.nn.functional import scaled_dot_product_attention
from variant_graphs import CASES, MODES, MORE

from edgeattn.attention import ATTENTION, check_options
from edgeattn.attention.lowering import allow
from edgeattn.attention.variant import Shape, lowest
from edgeattn.errors import InputError
from edgeattn.export.opset import EXPORTED, lower_to_17
from edgeattn.export.rewrite import rewrite
from edgeattn.runtimes import RUNTIMES

QUADRATIC = {"dense"}
CUT_BY_POSITION = {"block_topk", "window_linear", "window_2d"}  # their blocks and grids move with padding on the left
NO_MIXING = {"identity"}  # its output does not depend on queries and keys
LENGTHS = (1, 2, 5, 16, 37, 130)


def _id(value):
    return {False: "bidirectional", True: "causal"}[value] if isinstance(value, bool) else str(value)


every_case = pytest.mark.parametrize(("name", "options", "causal"), CASES, ids=_id)
every_mode = pytest.mark.parametrize(("name", "causal"), MODES, ids=_id)
every_causal_case = pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, options, causal in CASES if causal], ids=_id
)
every_cross_case = pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name, options, causal in CASES if ATTENTION[name].cross and not causal],
    ids=_id,
)
every_biased_case = pytest.mark.parametrize(
    ("name", "options", "causal"), [case for case in CASES if ATTENTION[case[0]].biased], ids=_id
)
every_variant = pytest.mark.parametrize("name", list(ATTENTION))


def variant(name, options=None, *, heads=2, d=8, causal=False):
    """With parameters moved from where they start, as after training."""
    kind = ATTENTION[name]
    shape = Shape(heads=heads, head_dim=d, scaling=d**-0.5, causal=causal)
    made = kind(shape, kind.Options.model_validate(options or {}))
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


def bias_for(n, *, b=1, h=2, seed=0, dtype=torch.float32, hides=False):
    """[b, h, n, n], as a layer learns it; with `hides` it also keeps blocks of 3 tokens apart."""
    bias = torch.randn(b, h, n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    block = torch.arange(n) // 3
    return torch.where(block[:, None] == block, bias, lowest(dtype)) if hides else bias


def close_on_real(found, expected, mask, tolerance=1e-5):
    """found, expected: [B, H, N, D]. Padded queries need only be finite."""
    assert torch.isfinite(found).all()
    assert found.shape == expected.shape
    if mask is not None:
        found, expected = (x.transpose(1, 2)[mask] for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@every_case
@pytest.mark.parametrize("kind", KINDS)
def test_forward_is_the_reference(name, options, causal, kind):
    made = variant(name, options, causal=causal)
    for n in LENGTHS:
        for dv in (8, 5):
            q, k, v = inputs(n, dv=dv, seed=n)
            mask = key_mask(kind, 3, n)
            close_on_real(made(q, k, v, mask), made.reference(q, k, v, mask), mask)


@every_mode
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_forward_is_the_reference_for_any_shape_and_mask(name, causal, data):
    b, h, n, d, dv = (data.draw(st.integers(1, most), label=label) for label, most in
                      (("B", 3), ("H", 3), ("N", 40), ("D", 9), ("Dv", 9)))  # fmt: skip
    mask = torch.tensor(data.draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=b, max_size=b)))
    q, k, v = inputs(n, b=b, h=h, d=d, dv=dv, seed=data.draw(st.integers(0, 99)))
    made = variant(name, heads=h, d=d, causal=causal)
    close_on_real(made(q, k, v, mask), made.reference(q, k, v, mask), mask)
    if made.biased:
        size = {"b": data.draw(st.sampled_from([1, b])), "h": data.draw(st.sampled_from([1, h]))}
        bias = bias_for(n, **size, hides=data.draw(st.booleans(), label="hides"))
        close_on_real(made(q, k, v, mask, bias), made.reference(q, k, v, mask, bias), mask)


@every_biased_case
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hides", [False, True], ids=["learned", "learned and hiding"])
def test_forward_with_a_bias_is_the_reference(name, options, causal, kind, hides):
    made = variant(name, options, causal=causal)
    for n in LENGTHS:
        q, k, v = inputs(n, dv=5, seed=n)
        mask = key_mask(kind, 3, n)
        for b, h in ((1, 1), (1, 2), (3, 1), (3, 2)):
            bias = bias_for(n, b=b, h=h, seed=n, hides=hides)
            close_on_real(made(q, k, v, mask, bias), made.reference(q, k, v, mask, bias), mask)


@every_biased_case
def test_a_bias_of_zeros_is_none(name, options, causal):
    made = variant(name, options, causal=causal)
    q, k, v = inputs(37)
    mask = key_mask("right", 3, 37)
    close_on_real(made(q, k, v, mask, torch.zeros(1, 1, 37, 37)), made(q, k, v, mask), mask)


# Options with which a variant sees all of 37 tokens.
WIDE = {
    "dense": {},
    "sliding_window": {"window": 74},
    "dilated_window": {"window": 74, "dilation": 1},
    "window_2d": {"window": 6},
    "block_topk": {"block": 8, "topk": 4},
}


@pytest.mark.parametrize(("name", "causal"), [mode for mode in MODES if ATTENTION[mode[0]].biased], ids=_id)
@pytest.mark.parametrize("kind", ["none", "right", "left"])
def test_a_window_as_wide_as_the_text_with_a_bias_is_dense_attention_with_it(name, causal, kind):
    made = variant(name, WIDE[name], causal=causal)
    q, k, v = inputs(37, dv=5)
    mask, bias = key_mask(kind, 3, 37), bias_for(37)
    seen = torch.ones(37, 37, dtype=torch.bool)
    seen = seen.tril() if causal else seen
    seen = seen if mask is None else seen & mask[:, None, None]
    expected = scaled_dot_product_attention(q, k, v, attn_mask=torch.where(seen, bias, -torch.inf))
    close_on_real(made(q, k, v, mask, bias), expected, mask)


@every_case
@pytest.mark.parametrize("kind", ["right", "left", "random"])
def test_padded_keys_do_not_influence_real_outputs(name, options, causal, kind):
    made = variant(name, options, causal=causal)
    q, k, v = inputs(37)
    mask = key_mask(kind, 3, 37)
    noise = torch.where(mask[:, None, :, None], 0.0, 100.0)
    close_on_real(made(q, k + noise, v - noise, mask), made(q, k, v, mask), mask)


@pytest.mark.parametrize(
    ("name", "options", "causal"),
    [case for case in CASES if case[0] not in CUT_BY_POSITION and not {"conv", "grid_width"} & set(case[1])], ids=_id,
)  # fmt: skip
def test_padding_on_the_left_changes_nothing(name, options, causal):
    made = variant(name, options, causal=causal)
    q, k, v = inputs(40)
    longer = [torch.cat([torch.full((3, 2, 7, 8), 5.0), x], 2) for x in (q, k, v)]
    found = made(*longer, (torch.arange(47) >= 7).expand(3, 47))[:, :, 7:]
    torch.testing.assert_close(found, made(q, k, v), rtol=1e-5, atol=1e-5)


@every_mode
def test_only_what_is_rotation_invariant_ignores_where_rotary_positions_start(name, causal):
    """Positions that all move by the same number rotate every query and key by the same angles."""
    made = variant(name, causal=causal)
    q, k, v = inputs(150)
    angles = 5 * torch.tensor([1.0, 0.3, 0.1, 0.03])
    turn = torch.block_diag(*(torch.tensor([[a.cos(), -a.sin()], [a.sin(), a.cos()]]) for a in angles))
    moved = (made(q @ turn, k @ turn, v) - made(q, k, v)).abs().max()
    assert moved < 1e-5 if made.rotation_invariant else moved > 1e-3


@every_case
def test_a_fully_padded_row_is_finite_in_half_precision(name, options, causal):
    """Scores below -16 on top of the lowest fp16 number are -inf, and a row of these is NaN."""
    made = variant(name, options, causal=causal)
    q = torch.full((1, 2, 20, 8), 20.0).half()
    mask = torch.zeros(1, 20, dtype=torch.bool)
    biases = (bias_for(20, dtype=torch.float16, hides=hides) for hides in (False, True))
    with torch.no_grad():
        for more in ((), *((bias,) for bias in biases if made.biased)):
            assert torch.isfinite(made(q, -q, q, mask, *more)).all()


@every_case
def test_gradients_are_those_of_finite_differences(name, options, causal):
    made = variant(name, options, heads=1, d=2, causal=causal).double()
    q, k, v = (x.requires_grad_() for x in inputs(5, b=2, h=1, d=2, dtype=torch.float64))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    with torch.no_grad():
        keeps_float64 = not torch.equal(made(q, k, v), made(q, k, v * (1 + 1e-10)))
    # A variant that reduces in fp32 does not resolve steps of 1e-6: its steps are wider, and so are the tolerances.
    step = {"eps": 1e-6, "atol": 1e-6} if keeps_float64 else {"eps": 1e-2, "atol": 2e-3, "rtol": 1e-2}

    def real_outputs(q, k, v, *_):
        return made(q, k, v, mask).transpose(1, 2)[mask]

    assert torch.autograd.gradcheck(real_outputs, (q, k, v, *made.transfer_parameters()), **step)
    if made.biased:
        bias = bias_for(5, h=1, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(
            lambda q, k, v, bias: made(q, k, v, mask, bias).transpose(1, 2)[mask], (q, k, v, bias), **step
        )


@every_case
def test_backward_reaches_every_transfer_parameter(name, options, causal):
    made = variant(name, options, causal=causal)
    mask = key_mask("empty row", 3, 200)  # long enough for far keys
    q, k, v = (x.requires_grad_() for x in inputs(200))
    made(q, k, v, mask).square().sum().backward()
    for parameter in (*made.transfer_parameters(), v, *(() if name in NO_MIXING else (q, k))):
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().max() > 0


@every_case
def test_cost_grows_as_it_should(name, options, causal):
    kind = ATTENTION[name]
    chosen, shape = kind.Options.model_validate(options), Shape(heads=4, head_dim=32, scaling=1.0, causal=causal)
    costs = [kind.cost(chosen, n, shape) for n in (4096, 8192, 16384)]
    for small, large in pairwise(costs):
        low, high = (3.5, 4.01) if name in QUADRATIC else (1.9, 2.1)
        assert name in NO_MIXING or low < large.flops / small.flops < high
        assert low < large.bytes / small.bytes < high
    if name not in QUADRATIC:
        dense = ATTENTION["dense"].cost(ATTENTION["dense"].Options(), 16384, shape)
        assert costs[-1].flops < dense.flops / 10
        assert costs[-1].bytes < dense.bytes / 10


@every_case
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_holds_at_16384_tokens(name, options, causal, dtype):
    made = variant(name, options, heads=1, d=16, causal=causal)
    # The dense control makes an N x N map, which is too large at full length.
    length = 4096 if name in QUADRATIC else 16384
    rounded = [x.to(dtype) for x in inputs(length, b=1, h=1, d=16, std=3.0)]
    with torch.no_grad():
        exact = made(*(x.float() for x in rounded))  # from the rounded inputs, or block_topk could choose other blocks
        found = made(*rounded)
    assert found.dtype == dtype
    assert torch.isfinite(found).all()
    # Scores of several tens lose up to 0.1 in bf16, a tenth of a softmax weight.
    worst = 0.02 if dtype == torch.float16 else 0.15
    assert (found.float() - exact).norm() < worst * exact.norm()


@every_causal_case
def test_a_causal_variant_never_sees_the_future(name, options):
    made = variant(name, options, causal=True)
    q, k, v = inputs(70)
    before = made(q, k, v)
    for t in (0, 1, 7, 33, 63, 64, 68):
        later = [x.clone() for x in (q, k, v)]
        for x in later:
            x[:, :, t + 1 :] += 3.0
        torch.testing.assert_close(made(*later)[:, :, : t + 1], before[:, :, : t + 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, options, causal in CASES if causal and name not in QUADRATIC],
    ids=_id,
)  # fmt: skip
def test_step_by_step_is_the_whole_sequence_at_once(name, options):
    made = variant(name, options, causal=True)
    q, k, v = inputs(150, dv=5)
    expected = made.reference(q, k, v)
    state = made.initial_state(3, 5)
    sizes = [x.shape for x in state]
    for t in range(150):
        out, state = made.step(*(x[:, :, t : t + 1] for x in (q, k, v)), state)
        torch.testing.assert_close(out, expected[:, :, t : t + 1], rtol=1e-4, atol=1e-4)
        assert [x.shape for x in state] == sizes
    torch.testing.assert_close(made(q, k, v), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in ATTENTION if not ATTENTION[name].causal or name in QUADRATIC])
def test_what_has_no_recurrent_step_says_so(name):
    made = variant(name)
    with pytest.raises(TypeError, match=f"^{name} has no recurrent step$"):
        made.initial_state(1, 8)
    with pytest.raises(TypeError, match=f"^{name} has no recurrent step$"):
        made.step(*inputs(1), ())


@every_cross_case
@pytest.mark.parametrize("kind", ["none", "right", "empty row"])
def test_cross_attention_is_the_reference(name, options, kind):
    made = variant(name, options)
    for n, m in ((5, 37), (37, 5), (16, 1), (1, 16)):
        q, k, v = inputs(n)[0], *inputs(m, dv=5, seed=1)[1:]
        mask = key_mask(kind, 3, m)
        found = made(q, k, v, mask)
        assert torch.isfinite(found).all()
        rows = slice(None) if mask is None else mask.any(1)
        torch.testing.assert_close(found[rows], made.reference(q, k, v, mask)[rows], rtol=1e-5, atol=1e-5)


@every_mode
@pytest.mark.parametrize("d", [16, 32, 64, 80, 128])
def test_every_head_dimension_works(name, causal, d):
    made = variant(name, d=d, causal=causal)
    q, k, v = inputs(20, d=d)
    mask = key_mask("right", 3, 20)
    close_on_real(made(q, k, v, mask), made.reference(q, k, v, mask), mask, 1e-4)


class Both(nn.Module):
    """A variant without and with a bias: two outputs of one graph, for each export takes seconds."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, q, k, v, key_mask, bias):
        return self.made(q, k, v, key_mask), self.made(q, k, v, key_mask, bias)


def exported(made, with_bias):
    batch, length = torch.export.Dim("batch"), torch.export.Dim("sequence", min=1)
    axes, key_axes, pairs = {0: batch, 2: length}, {0: batch, 1: length}, {2: length, 3: length}
    example = [*inputs(12, b=2), torch.ones(2, 12, dtype=torch.bool)]
    shapes = [axes, axes, axes, key_axes]
    if with_bias:
        made, example, shapes = Both(made), [*example, bias_for(12)], [*shapes, pairs]
    # As in the export of whole models: other lengths are tested, not proved while tracing.
    with symbolic.patch(backed_size_oblivious=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            made, tuple(example), dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
        )
        graph = torch.onnx.export(
            program, dynamo=True, opset_version=EXPORTED, verbose=False,
            input_names=["q", "k", "v", "key_mask", "bias"][: len(example)],
            output_names=["out", "biased"][: len(example) - 3],
        )  # fmt: skip
    lower_to_17(graph.model)
    rewrite(graph.model)
    file = io.BytesIO()
    onnx.save(graph.model_proto, file)
    return file.getvalue()


def built(root):
    """The runtimes that run here, with an engine of root/model.onnx in root/NAME each."""
    for runtime in (RUNTIMES[name] for name in runtimes_here.that_run()):
        runtime.build(root / "model.onnx", root / runtime.name, method="fp32")
        yield runtime


@pytest.mark.usefixtures("one_operator_table")
@pytest.mark.parametrize(
    ("name", "options", "causal"),
    [
        (name, options, causal) for name, causal in MODES for options in [{}, *MORE.get(name, [])[:1]]
        # Also with windows and blocks so short that the traced sequence has several: a trace with one block differs.
        if (not options and ATTENTION[name].dynamic_length) or {"window", "block"} & set(options)
    ],
    ids=_id,
)  # fmt: skip
def test_exports_to_standard_onnx(name, options, causal, tmp_path):
    """One layer, in operators that any TensorRT parses, in every runtime, at other batches and lengths than traced."""
    made = variant(name, options, causal=causal)
    with_bias = made.biased and bool(options)  # where there are several blocks
    file = exported(made, with_bias)
    graph = onnx.load_from_string(file)
    assert {entry.domain: entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")} == {"": 17}
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert not {node.op_type for node in graph.graph.node} & {"Loop", "Scan", "If"}
    (tmp_path / "model.onnx").write_bytes(file)
    found = {fault for each in check_graphs.faults(tmp_path / "model.onnx").values() for fault in each}
    assert {fault for fault in found if fault.severity == "error"} == set()  # every TensorRT of a Jetson takes it
    sessions = [runtime.load(tmp_path, tmp_path / runtime.name) for runtime in built(tmp_path)]
    taken = {entry.name for entry in graph.graph.input}
    for b, n in ((3, 37), (3, 12), (1, 1), (2, 130)):
        q, k, v = inputs(n, b=b)
        mask = key_mask("right", b, n)
        bias = bias_for(n, hides=n == 12)
        feeds = {"q": q, "k": k, "v": v, "key_mask": mask, "bias": bias}
        with torch.no_grad():
            expected = {"out": made(q, k, v, mask)} | ({"biased": made(q, k, v, mask, bias)} if with_bias else {})
        for session in sessions:
            found = session.run({key: x.numpy() for key, x in feeds.items() if key in taken})
            assert found.keys() == expected.keys()
            for output, out in found.items():
                close_on_real(torch.from_numpy(out), expected[output], mask, 1e-4)


@every_mode
def test_the_operators_that_a_layer_names_are_those_its_graph_would_have(name, causal, monkeypatch):
    """With a name too many, a compile would export, build and time the same graph twice."""
    made = variant(name, causal=causal)
    used = set()
    for symbolic_operator in ("symbolic", "symbolic_multi_out"):
        call = getattr(torch.onnx.ops, symbolic_operator)

        def noted(kind, *args, call=call, **kwargs):
            used.add(kind)
            return call(kind, *args, **kwargs)

        monkeypatch.setattr(torch.onnx.ops, symbolic_operator, noted)
    with allow(RUNTIMES["onnxruntime"].operators), torch.no_grad():
        made(*inputs(12))
    assert made.operators == used


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
