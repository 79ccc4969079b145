"""Text from a recipe or a device, made safe to show."""

from __future__ import annotations

import re

# An escape sequence as a whole, then every control character, and those that reorder text on the screen.
_ESCAPE = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[@-_]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def plain(text: str, *, lines: bool = False) -> str:
    """`text`, which may come from a recipe or a device, without what could control a terminal.

    Escape sequences and control characters are removed; line breaks become spaces unless `lines`.
    """
    text = _CONTROL.sub("", _ESCAPE.sub("", text))
    return text if lines else text.replace("\n", " ")
