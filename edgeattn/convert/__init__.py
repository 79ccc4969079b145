"""Puts the variants of a plan into a model, with no code per architecture.

Layers are found by running the model once and noting which modules call `attend`. Attention of transformers models
calls it through `AttentionInterface`, that of PyTorch and timm through subclasses of their modules.
"""

from edgeattn.convert.attend import transfer_losses
from edgeattn.convert.interface import IMPLEMENTATION
from edgeattn.convert.layers import Layer
from edgeattn.convert.plan import PLAN_KEY, Choice, Plan, make_plan, plan_of
from edgeattn.convert.swap import convert, find_layers, fitting, obstacle, survey, variants

__all__ = [
    "IMPLEMENTATION",
    "PLAN_KEY",
    "Choice",
    "Layer",
    "Plan",
    "convert",
    "find_layers",
    "fitting",
    "make_plan",
    "obstacle",
    "plan_of",
    "survey",
    "transfer_losses",
    "variants",
]
