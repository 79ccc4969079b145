"""ReLU linear attention and its convolution, against torch's own convolutions, on padding, on grids, in graphs."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import conv1d, conv2d

from edgeattn.attention.relu_linear import ReluLinear
from tests.attention.linear_family import Graph, close, inputs, layer

GRID = {"conv": "2d", "grid_width": 5, "prefix_tokens": 2}


def branch(made, q, k, v, mask=None):
    """The term that the convolution adds."""
    with torch.no_grad():
        alone = layer("relu_linear")(q, k, v, mask)
        return made(q, k, v, mask) - alone


@torch.no_grad()
def test_it_is_the_formula():
    q, k, v = inputs(9, b=1, h=1, dv=3)
    found = layer("relu_linear", heads=1)(q, k, v)
    for i in range(9):
        weights = torch.stack([q[0, 0, i].relu() @ k[0, 0, j].relu() for j in range(9)])
        close(found[0, 0, i], weights @ v[0, 0] / weights.sum())


@torch.no_grad()
def test_a_query_that_shares_no_feature_gets_zero():
    q, k, v = inputs(6)
    q[:, :, 2] = -q[:, :, 2].abs()
    made = layer("relu_linear")
    for out in (made(q, k, v), made.reference(q, k, v)):
        assert torch.equal(out[:, :, 2], torch.zeros(2, 2, 8))
        assert (out[:, :, 3] != 0).all()
    q.requires_grad_()
    with torch.enable_grad():
        made(q, k, v).sum().backward()
    assert torch.isfinite(q.grad).all()


@torch.no_grad()
@pytest.mark.parametrize("options", [{"conv": "1d"}, GRID], ids=["1d", "2d"])
def test_a_converted_layer_starts_as_the_attention_alone(options):
    q, k, v = inputs(17)
    made = layer("relu_linear", trained=False, **options)
    assert torch.equal(made(q, k, v), layer("relu_linear")(q, k, v))


@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("n", [1, 2, 20])
def test_along_the_sequence_it_is_conv1d(kernel, n):
    made = layer("relu_linear", conv="1d", conv_kernel=kernel)
    q, k, v = inputs(n, dv=4)
    found = branch(made, q, k, v)
    for head in range(2):
        rows = v[:, head].transpose(1, 2).reshape(-1, 1, n)  # one row per sequence and channel
        expected = conv1d(rows, made.kernel[head, :, :, 0][None], padding=kernel // 2)
        close(found[:, head], expected.detach().view(2, 4, n).transpose(1, 2))


@pytest.mark.parametrize("kernel", [3, 5])
def test_on_a_grid_it_is_conv2d_of_the_image(kernel):
    made = layer("relu_linear", conv_kernel=kernel, **GRID)
    q, k, v = inputs(2 + 4 * 5, dv=3)
    found = branch(made, q, k, v)
    close(found[:, :, :2], torch.zeros(2, 2, 2, 3))  # CLS and the like are not on it
    for head in range(2):
        image = v[:, head, 2:].transpose(1, 2).reshape(-1, 1, 4, 5)  # one image per picture and channel
        expected = conv2d(image, made.kernel[head][None], padding=kernel // 2)
        close(found[:, head, 2:], expected.detach().view(2, 3, 20).transpose(1, 2))


@pytest.mark.parametrize("n", [1, 2, 3, 19])
def test_a_grid_that_is_not_full_has_nothing_beyond_its_end(n):
    made = layer("relu_linear", **GRID)
    q, k, v = inputs(n)
    with torch.no_grad():
        close(made(q, k, v), made.reference(q, k, v))


@pytest.mark.parametrize("options", [{"conv": "1d"}, GRID], ids=["1d", "2d"])
def test_padding_does_not_leak_through_the_convolution(options):
    made = layer("relu_linear", **options)
    q, k, v = inputs(17)
    mask = torch.arange(17).expand(2, -1) < torch.tensor([[17], [9]])
    louder = torch.where(mask[:, None, :, None], v, 1e4)
    with torch.no_grad():
        found, expected = made(q, k, louder, mask), made(q, k, v, mask)
    close(found, expected)
    assert branch(made, q, k, v, mask)[1, :, 9].abs().max() > 0  # a padded place itself still sees its neighbour


@torch.no_grad()
def test_another_sequence_is_not_convolved():
    made = layer("relu_linear", conv="1d")
    q, (_, k, v) = inputs(6)[0], inputs(11)
    assert torch.equal(made(q, k, v), layer("relu_linear")(q, k, v))


@pytest.mark.parametrize("options", [{"conv": "1d", "conv_kernel": 5}, GRID], ids=["1d", "2d"])
def test_its_graph_at_other_lengths(options):
    made = layer("relu_linear", **options)
    graph = Graph(made)
    assert graph.count("Conv") == 1
    assert (
        graph.count("Transpose") <= 5
    )  # three to split the heads, one of the keys, one to join them: none for the convolution
    for node in graph.model.graph:
        if node.op_type == "Conv":
            assert node.inputs[1].const_value is not None  # TensorRT takes only constant weights
    for b, n in ((1, 2), (2, 3), (2, 44), (1, 1)):
        q, k, v = inputs(n, b=b)
        mask = torch.arange(n).expand(b, -1) < torch.tensor([n, max(1, n // 2)])[:b, None]
        with torch.no_grad():
            close(graph(q, k, v, mask), made(q, k, v, mask), 1e-4)


def test_options_that_do_not_go_together():
    with pytest.raises(ValidationError, match="conv 2d needs grid_width: give the number of patches in a row"):
        ReluLinear.Options(conv="2d")
    with pytest.raises(ValidationError, match="conv_kernel: 4 has no middle; use 5"):
        ReluLinear.Options(conv="1d", conv_kernel=4)
