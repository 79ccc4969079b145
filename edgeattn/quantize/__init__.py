"""Quantization: how a graph is quantized, and which candidate ships."""

from edgeattn.quantize.choice import Candidate, choose
from edgeattn.quantize.methods import quantize

__all__ = ["Candidate", "choose", "quantize"]
