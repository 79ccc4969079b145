"""Where samples come from: files, the hub, and two sets that need no download."""

from edgeattn.data.load import load_rows, source_digest

__all__ = ["load_rows", "source_digest"]
