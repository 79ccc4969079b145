"""An engine that is wrong, caches or keeps state is detected."""

from __future__ import annotations

import numpy as np
import pytest

from edgeattn.bench.golden import drifts, repeats, require_fresh, require_golden
from edgeattn.bench.inputs import load_feeds, save_feeds
from edgeattn.bench.leg import Answers
from edgeattn.errors import BundleError, DeviceError, VerificationError

FEEDS = [{"x": np.full((1, 4), value, dtype=np.float32)} for value in (1.0, 2.0, 3.0)]


class Honest:
    def run(self, feeds):
        return {"y": feeds["x"] * 2}

    def describe(self):
        return {}


class ByAddress(Honest):
    """Caches by its input's address, not by its content."""

    def __init__(self):
        self.known = {}

    def run(self, feeds):
        return self.known.setdefault(feeds["x"].ctypes.data, super().run(feeds))


class Stateful(Honest):
    calls = 0

    def run(self, feeds):
        self.calls += 1
        return {"y": feeds["x"] * 2 + self.calls}


def asked(session, tmp_path):
    feeds = repeats(FEEDS)
    save_feeds(tmp_path / "asked.npz", feeds)
    Answers(lambda: session, [FEEDS])(
        {"op": "answer", "feeds": str(tmp_path / "asked.npz"), "to": str(tmp_path / "told.npz")}
    )
    return feeds, load_feeds(tmp_path / "told.npz")


def test_an_honest_engine_passes(tmp_path):
    require_fresh(*asked(Honest(), tmp_path), "engine")


def test_cached_outputs_are_found_out(tmp_path):
    with pytest.raises(VerificationError, match="two different inputs gave the same output"):
        require_fresh(*asked(ByAddress(), tmp_path), "efficient engine")


def test_kept_state_is_found_out(tmp_path):
    with pytest.raises(VerificationError, match="'y' differs when the same input is given again"):
        require_fresh(*asked(Stateful(), tmp_path), "efficient engine")


def test_a_clock_too_coarse_for_the_latency_is_said(monkeypatch):
    monkeypatch.setattr("edgeattn.bench.leg.MIN_TICKS", 10**9)
    with pytest.raises(DeviceError, match="too short for this clock"):
        Answers(Honest, [FEEDS])({"op": "measure", "seconds": 0, "at_least": 3, "limit_s": 1, "at_most": 9, "case": 0})


def test_drift_by_method():
    golden = np.eye(3, dtype=np.float32)
    outputs = [{"y": row[None] + np.float32(0.1)} for row in golden]
    found = drifts(outputs, {"student.y": golden}, "student")
    assert found["y"].max_abs == pytest.approx(0.1)
    require_golden(found, least_cosine=0.9, method="int8-dynamic", engine="efficient engine")
    with pytest.raises(VerificationError, match=r"the cosine on the worst .* 0\.99.*, 0\.9999 is required for fp32"):
        require_golden(found, least_cosine=0.9999, method="fp32", engine="efficient engine")


def test_values_that_are_not_finite_are_counted():
    outputs = [{"y": np.array([[1.0, np.nan]])}, {"y": np.array([[np.inf, 0.0]])}]
    found = drifts(outputs, {"teacher.y": np.ones((2, 2))}, "teacher")
    assert found["y"].non_finite == 2
    assert found["y"].max_abs is None
    with pytest.raises(VerificationError, match="'y' has 2 values that are not finite"):
        require_golden(found, least_cosine=0.9, method="int8-dynamic", engine="dense engine")


def test_an_output_without_padding_is_held_against_its_part_of_the_golden_one():
    golden = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
    found = drifts([{"y": golden[:, :2]}], {"student.y": golden}, "student")
    assert found["y"].max_abs == 0


def test_samples_without_golden_outputs_are_said():
    with pytest.raises(BundleError, match="no golden outputs of the student"):
        drifts([{"y": np.ones((1, 2))}], {}, "student")
    with pytest.raises(BundleError, match="1 outputs for 2 golden ones of the student"):
        drifts([{"y": np.ones((1, 2))}], {"student.y": np.ones((2, 2))}, "student")
