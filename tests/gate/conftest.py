from __future__ import annotations

from dataclasses import replace

import pytest
import tiny_bundle
from paired_sources import around

from edgeattn.gate import protocols, run
from edgeattn.gate.rule import Look, Rule
from edgeattn.gate.sequential import Key, Pair
from edgeattn.gate.session import SIDES, Seen


@pytest.fixture
def tiny(tmp_path):
    """A sound bundle, timed at 16 tokens."""
    return tiny_bundle.make(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No calibration of this machine, and none left."""
    monkeypatch.setenv("EDGEATTN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hasty(monkeypatch):
    """A quick protocol of milliseconds, and two pairs in place of ten."""
    quick = replace(
        protocols.QUICK, window_s=0.004, agree=10.0, warm_min_s=0.01, warm_max_s=10.0, block_s=0.005, samples=64
    )
    monkeypatch.setattr(protocols, "QUICK", quick)
    looks = (Look(2, 0.25), Look(3, 0.125))
    monkeypatch.setattr(run.Options, "rule", property(lambda self: Rule(self.ignore, self.catch, looks)))


@pytest.fixture
def given_pairs(monkeypatch):
    """Sets what the timed pairs of each run give: metric -> differences; nothing is timed."""

    def give(*runs, peaks=(10e6, 10e6)):
        made = iter(runs)

        class Fake:
            def __init__(self, session, cases, most, progress=None):
                self.differences = next(made)
                self.taken = 0
                self.seen = {}
                self.lengths = [case.length for case in cases]

            def pair(self, wanted):
                found = {Key(length, name): values[self.taken] for length in self.lengths
                         for name, values in self.differences.items()}  # fmt: skip
                self.taken += 1
                for key in found:
                    seen = self.seen.setdefault(key, Seen())
                    seen.within.append(1e-6)
                    for side, value in zip(SIDES, (1.0, 1.1), strict=True):
                        seen.values[side].append(value)
                return Pair(found)

            def peak_bytes(self, place):
                return dict(zip(SIDES, peaks, strict=True))

        monkeypatch.setattr(run, "Pairs", Fake)

    return give


@pytest.fixture
def same():
    """Differences of two equal engines."""
    return {"p50": around(0.0, 0.02)}


@pytest.fixture
def slower():
    """Differences of a candidate that is 10 % slower."""
    return {"p50": around(0.1, 0.02)}
