"""The folders of the recipes and device profiles that ship with edgeattn: in the wheel, or in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def shipped(kind: Literal["recipes", "devices"]) -> Path:
    """The folder of shipped YAML files of one kind."""
    package = Path(__file__).resolve().parent
    in_wheel = package / f"_{kind}"
    return in_wheel if in_wheel.is_dir() else package.parent / kind
