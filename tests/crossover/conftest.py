from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _one_table(one_operator_table: None) -> None:
    """Many tests here export a graph."""
