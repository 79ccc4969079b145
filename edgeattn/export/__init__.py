"""From torch to ONNX: export, rewriting, checks."""

from edgeattn.export.buckets import fix_length
from edgeattn.export.check import check_graph
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.export.rewrite import rewrite

__all__ = ["PREFERRED_OPSET", "check_graph", "export", "fix_length", "rewrite", "save"]
