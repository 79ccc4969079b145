"""Fewer bits: how a graph is quantized, and whether that was worth it."""

from edgeattn.quantize.choice import Candidate, choose
from edgeattn.quantize.methods import quantize

__all__ = ["Candidate", "choose", "quantize"]
