"""Inputs, outputs and axes that do not fit each other are refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from edgeattn.interface import Axis, Interface, TensorSpec


def tensor(name: str, *dims: Any) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", dims=dims)


AUDIO = {
    "inputs": (tensor("audio", "batch", 80, "frames"), tensor("mask", "batch", "frames")),
    "outputs": (tensor("text", "batch", "tokens", 50),),
    "axes": {"frames": Axis(unit="frames", mask="mask", longest=3000), "tokens": Axis(unit="tokens")},
    "length_axis": "frames",
}


def test_several_axes_are_read_back_as_they_were_written() -> None:
    made = Interface(**AUDIO)
    assert Interface.model_validate_json(made.model_dump_json()) == made
    assert (made.length_unit, made.dims["text"]) == ("frames", ("batch", "tokens", 50))
    image = Interface(inputs=(tensor("x", 1, 3, 8, 8),), outputs=(tensor("y", 1, 10),), axes={})
    assert image.length_unit is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outputs": (tensor("audio", "batch", 1),)}, "two inputs or outputs have the same name"),
        ({"outputs": (tensor("text", 1, 1),)}, "the first dimensions of inputs and outputs differ"),
        ({"outputs": (tensor("text", "batch", "words"),)}, "'text' has the axis 'words', which is not among the axes"),
        ({"axes": {**AUDIO["axes"], "patches": Axis(unit="patches")}}, "no input or output has the axis 'patches'"),
        ({"axes": {**AUDIO["axes"], "tokens": Axis(unit="tokens", mask="text")}}, "'text', which is not an input"),
        ({"axes": {**AUDIO["axes"], "frames": Axis(unit="frames", mask="audio")}},
         "the mask of 'frames' has the dimensions ['batch', 80, 'frames'], not [batch, frames]"),
        ({"length_axis": "tokens"}, "length_axis: no input has the axis 'tokens'"),
        ({"axes": None}, "missing; an edgeattn that did not know axes yet compiled this bundle"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        Interface(**{**AUDIO, **change})


def test_the_batch_comes_first() -> None:
    with pytest.raises(ValidationError, match="the first dimension of inputs and outputs is the batch, not 'rows'"):
        Interface(inputs=(tensor("x", "rows", 3),), outputs=(tensor("y", "rows", 1),), axes={})


def test_what_an_axis_counts_is_a_plain_word() -> None:
    with pytest.raises(ValidationError, match="unit"):
        Axis(unit="<b>tokens</b>")
