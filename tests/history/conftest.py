from __future__ import annotations

import pytest
from history_rows import row


@pytest.fixture
def history(tmp_path, monkeypatch):
    """Where the history of this test is; nothing is recorded yet."""
    file = tmp_path / "own" / "history.sqlite"
    monkeypatch.setenv("EDGEATTN_HISTORY", str(file))
    return file


@pytest.fixture
def slower_since_may():
    """Ten benches of 10 ms, then ten of 12 ms, each with a little noise."""
    return [row(day, 10.0 + 0.1 * (day % 3)) for day in range(1, 11)] + [
        row(day, 12.0 + 0.1 * (day % 3)) for day in range(11, 21)
    ]
