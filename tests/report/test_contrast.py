"""Contrast of the page by WCAG 2.2, level AA, computed from the variables of its style: 4.5 for text, 3 for series."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

import edgeattn.report

CSS = (Path(edgeattn.report.__file__).parent / "templates" / "style.css").read_text()
TEXT = ("ink", "dim", "link", "good", "bad")
SERIES = tuple(f"s{place}" for place in range(6))


def variables(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def themes() -> dict[str, dict[str, str]]:
    light, dark, paper = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    return {"light": variables(light), "dark": variables(dark), "print": variables(paper)}


def linear(colour: str) -> list[float]:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def deuteranope(colour: str) -> list[float]:
    """What red-green blindness leaves of a colour, linear RGB: Machado, Oliveira and Fernandes 2009, severity 1."""
    rows = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
    return [sum(weight * part for weight, part in zip(row, linear(colour), strict=True)) for row in rows]


def test_the_measure_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_and_series_stand_out(theme: str) -> None:
    found = themes()[theme]
    for name in TEXT:
        for ground in ("page", "raised"):
            assert contrast(found[name], found[ground]) >= 4.5, (name, ground)
    for name in SERIES:
        assert contrast(found[name], found["page"]) >= 3, name
        assert contrast(found[name], found["raised"]) >= 3, name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_dense_and_efficient_differ_for_the_colour_blind(theme: str) -> None:
    found = themes()[theme]
    apart = max(abs(a - b) for a, b in zip(deuteranope(found["s0"]), deuteranope(found["s1"]), strict=True))
    assert apart > 0.25


def test_every_colour_is_one_of_the_variables() -> None:
    rules = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    for theme in themes().values():
        assert used <= set(theme)


def test_series_differ_by_more_than_colour() -> None:
    pytest.importorskip("matplotlib")
    from edgeattn.report.page import MARKS
    from edgeattn.report.pictures import svg

    for each in (MARKS, svg.MARKERS, svg.DASHES, svg.HATCHES, svg.SERIES):
        assert len(each) == len(SERIES)
        assert all(a != b for a, b in combinations(each, 2))
