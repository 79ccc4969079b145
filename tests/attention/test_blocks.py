"""Cutting sequences into blocks, at any length."""

from __future__ import annotations

import pytest
import torch

from edgeattn.attention.blocks import (
    around,
    attended,
    band,
    cut,
    hidden,
    join,
    leading,
    mix,
    pick,
    pick_pairs,
    take,
    take_band,
    take_pairs,
)


def numbered(n):
    """[1, 1, N, 1], each row its own position."""
    return torch.arange(n).float()[None, None, :, None]


@pytest.mark.parametrize("n", [1, 3, 4, 5, 12, 13])
@pytest.mark.parametrize("spacing", [1, 2, 5])
def test_what_is_taken_in_blocks_is_joined_in_order(n, spacing):
    blocks = take(numbered(n), around(n, 4, 0, 0, torch.device("cpu"), spacing))
    assert blocks.shape[3] == 4
    torch.testing.assert_close(join(blocks, spacing)[:, :, :n], numbered(n))


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_cut_fills_up_with_zeros(n):
    blocks = cut(numbered(n) + 1, 4, more=2)
    assert blocks.shape[2:4] == ((n + 3) // 4 + 2, 4)
    assert join(blocks).sum() == n * (n + 1) / 2
    torch.testing.assert_close(join(blocks)[:, :, :n], numbered(n) + 1)


@pytest.mark.parametrize(("n", "size", "before", "after"), [(1, 4, 2, 2), (11, 4, 2, 3), (12, 3, 5, 0), (9, 1, 1, 1)])
@pytest.mark.parametrize("spacing", [1, 3])
def test_each_block_has_what_is_around_it(n, size, before, after, spacing):
    """Every pair of a query and a key within its reach is there once, and no other pair."""
    device = torch.device("cpu")
    own, near = (around(n, size, *reach, device, spacing) for reach in ((0, 0), (before, after)))
    there = attended(None, near, n)[0][:, None] & band(size, before, after, device)
    queries, keys = own[:, :, None].expand(there.shape), near[:, None].expand(there.shape)
    real = there & (queries < n)
    found = sorted(zip(queries[real].tolist(), keys[real].tolist(), strict=True))
    assert found == [
        (i, j)
        for i in range(n)
        for j in range(max(0, i - before * spacing), min(n, i + after * spacing + 1))
        if (i - j) % spacing == 0
    ]


@pytest.mark.parametrize("n", [1, 5, 12, 13, 30])
@pytest.mark.parametrize(("size", "before", "after"), [(4, 4, 4), (4, 2, 2), (4, 7, 0), (12, 5, 5)])
def test_pairs_around_a_block_are_those_of_its_rows_and_columns(n, size, before, after):
    """One by one, and in whole blocks of columns."""
    device = torch.device("cpu")
    own, near = (around(n, size, *reach, device) for reach in ((0, 0), (before, after)))
    pairs = (torch.arange(n)[:, None] * 100 + torch.arange(n))[None, None].float()
    real = (own < n)[:, :, None] & attended(None, near, n)[0][:, None]
    expected = (own[:, :, None] * 100 + near[:, None])[real].float()
    assert torch.equal(take_pairs(pairs, own, near)[0, 0][real], expected)
    assert torch.equal(take_band(pairs, own, before, after)[0, 0][real], expected)


def test_rows_and_columns_are_picked_by_sequence_from_a_bias_of_one_or_each():
    positions = torch.tensor([[0, 2], [1, 9]])  # 9 is beyond the end: the last
    for batch in (1, 2):
        x = torch.randn(batch, 2, 4, 4)
        rows, columns = pick_pairs(x, positions)
        for b, places in enumerate(([0, 2], [1, 3])):
            assert torch.equal(rows[b], x[b % batch][:, places])
            assert torch.equal(columns[b], x[b % batch][:, :, places])


def test_no_token_outside_the_sequence_or_in_padding_is_attended():
    mask = torch.tensor([[False, True, True], [True, True, False]])
    index = torch.tensor([[-1, 0, 1], [1, 2, 3]])
    expected = [[[False, False, True], [True, True, False]], [[False, True, True], [True, False, False]]]
    assert attended(mask, index, 3).tolist() == expected


def test_leading_tokens_are_counted_from_the_first_attended():
    mask = torch.tensor([[True] * 4, [False, True, False, True], [False, False, False, True], [False] * 4])
    positions, exists = leading(mask, 4, 2, mask.device)
    assert positions.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]
    assert exists.tolist() == [[True, True], [True, False], [True, False], [False, False]]
    picked = pick(numbered(4).expand(4, 1, 4, 1), positions)
    assert picked[:3, 0, 0, 0].tolist() == [0, 1, 3]


def test_what_is_hidden_twice_in_a_whole_row_is_still_finite():
    twice = hidden(torch.zeros(1, 3, dtype=torch.bool)) * 2
    q = torch.full((1, 4), 100.0).half()
    assert torch.isfinite(mix(q, -q.expand(3, 4), torch.ones(3, 2).half(), twice, 0.01)).all()
