"""From torch to ONNX: export, rewriting, checks."""
