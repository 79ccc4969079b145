"""From torch to ONNX: export, rewriting, checks."""

MODULES = "pkg.torch.onnx.name_scopes"  # torch's note on a node: the modules around it, and its own name
