"""The forms of a model that are exported and measured."""

from __future__ import annotations

from edgeattn.stages.export import forms_of

DENSE, LINEAR = "com.microsoft::MultiHeadAttention", "com.microsoft::LinearAttention"


def test_a_model_without_fused_operators_has_one_form():
    assert dict(forms_of("dense", frozenset())) == {"dense": frozenset()}


def test_one_operator_is_tried_and_left_out():
    assert dict(forms_of("dense", frozenset({DENSE}))) == {"dense": frozenset(), "dense-fused": frozenset({DENSE})}


def test_several_are_tried_together_and_each_alone():
    """One may be faster than the plain form where the other is slower."""
    assert dict(forms_of("efficient", frozenset({DENSE, LINEAR}))) == {
        "efficient": frozenset(),
        "efficient-fused": frozenset({DENSE, LINEAR}),
        "efficient-fused-LinearAttention": frozenset({LINEAR}),
        "efficient-fused-MultiHeadAttention": frozenset({DENSE}),
    }
