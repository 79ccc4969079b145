"""From torch to ONNX: export, rewriting, checks."""

from edgeattn.runtimes.nodes import MODULES

__all__ = ["MODULES"]
