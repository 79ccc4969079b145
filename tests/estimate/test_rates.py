"""What machines reach, and how long kernels take by it."""

from __future__ import annotations

import math

import pytest
from counted_graphs import counted, make, node

from edgeattn.devices import DeviceProfile, load_device
from edgeattn.errors import InputError
from edgeattn.estimate import calibrate
from edgeattn.estimate.calibrate import measure, rates_of
from edgeattn.estimate.fuse import Fusing, fuse
from edgeattn.estimate.methods import as_method
from edgeattn.estimate.probes import PROBES
from edgeattn.estimate.rates import Rates, profile_rates
from edgeattn.estimate.roofline import computable, time
from edgeattn.quantize.arithmetic import Arithmetic
from edgeattn.store import Store

ROOM = 1e9  # bytes/s


def board(**facts):
    runtime = {"name": "onnxruntime", "opset": (17, 21), "methods": ("fp32",)}
    return DeviceProfile.model_validate({"name": "board", "description": "a board", "runtimes": (runtime,), **facts})


def rates(*, overlaps, kernel_s=0.0):
    ops = {("product", "fp32"): 1e9, ("elementwise", "fp32"): math.inf, ("copy", "fp32"): math.inf}
    return Rates(ops, [(1.0, ROOM)], kernel_s, overlaps, "made up")


def product():
    """480 operations; 4 x 4 x 3 + 4 x 4 x 5 + 4 x 3 x 5 elements."""
    model = make([node("MatMul", ["x", "w"], ["y"])], {"x": (4, 12)}, {"w": (12, 5)})
    return fuse(counted(model), Fusing(chains=True, attention=True))


def test_a_roof_is_the_longer_of_operations_and_bytes_or_their_sum():
    working, moving = 2 * 4 * 12 * 5 / 1e9, 4 * (48 + 60 + 20) / ROOM
    assert time(product(), rates(overlaps=True)).seconds == pytest.approx(max(working, moving))
    assert time(product(), rates(overlaps=False)).seconds == pytest.approx(working + moving)


def test_weights_come_from_where_all_of_them_fit():
    slow, fast = 1e9, 4e9
    found = Rates({("product", "fp32"): 1e12}, [(100.0, fast), (400.0, slow)], 0, False, "made up")
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["y"])]
    model = make(nodes, {"x": (1, 8)}, {"w": (8, 8), "v": (8, 8)})
    moving = time(fuse(counted(model), Fusing(chains=True, attention=True)), found).bytes_s
    each = 4 * (8 + 8) / found.bytes_per_s(4 * (64 + 8 + 8))  # what is no weight, of each product
    assert moving == pytest.approx(2 * 4 * 64 / slow + 2 * each)


@pytest.mark.parametrize("overlaps", [True, False])
def test_starts_are_added(overlaps):
    at_once, started = (
        time(product(), rates(overlaps=overlaps, kernel_s=each), extra_starts=3) for each in (0.0, 1e-3)
    )
    assert (at_once.start_s, started.start_s) == (0, 4e-3)
    assert started.seconds == pytest.approx(at_once.seconds + 4e-3)


def test_a_machine_without_a_rate_cannot_compute_it():
    assert computable(product(), rates(overlaps=True))
    model = make([node("Softmax", ["x"], ["y"])], {"x": (4, 12)})
    assert not computable(fuse(counted(model), Fusing(chains=True, attention=True)), rates(overlaps=True))


def test_bandwidth_is_interpolated_over_the_logarithm_of_the_bytes():
    found = Rates({}, [(1e3, 4e9), (1e5, 1e9)], 0, False, "made up")
    assert [found.bytes_per_s(size) for size in (1, 1e3, 1e5, 1e9)] == [4e9, 4e9, 1e9, 1e9]
    assert found.bytes_per_s(1e4) == pytest.approx(2e9)


def test_each_power_mode_has_rates_of_its_own():
    fast, slow = (
        next(each for each in profile_rates(load_device("jetson-agx-orin-64gb")) if each.mode == mode)
        for mode in ("MAXN", "MODE_30W")
    )
    ratio = fast.ops_per_s["product", "int8"] / slow.ops_per_s["product", "int8"]
    assert ratio == pytest.approx((16 * 1300) / (8 * 612), rel=0.01)
    assert slow.kernel_s / fast.kernel_s == pytest.approx(1300 / 612)
    assert (fast.watts, slow.watts) == (None, 30)


@pytest.mark.parametrize(
    ("facts", "fact"),
    [
        ({}, "peaks"),
        ({"peaks": {"fp32": 1.0}}, "bandwidth_gb_per_s"),
        ({"peaks": {"int8": 1.0}, "bandwidth_gb_per_s": 10.0}, "peaks.fp32"),
        ({"gpu": {"sm": "8.7"}, "peaks": {"fp16": 1.0}, "bandwidth_gb_per_s": 10.0}, "gpu.max_mhz"),
    ],
)
def test_the_missing_fact_of_a_profile_is_named(facts, fact):
    with pytest.raises(InputError, match=f"the profile of board has no {fact}, which") as raised:
        profile_rates(board(**facts))
    assert fact in raised.value.fix


def test_a_method_changes_precision_and_bytes_of_the_linear_layers():
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])]
    plain = counted(make(nodes, {"x": (4, 12)}, {"w": (12, 5)}))
    quantize, linear, relu = as_method(plain, Arithmetic(linear="int8", rest="fp16", weight_bits=8)).works
    assert (quantize.reads, quantize.writes) == ({"x": 2 * 48}, {"x.int8": 48})
    assert (linear.precision, linear.reads, linear.writes) == ("int8", {"w": 60, "x.int8": 48}, {"h": 2 * 20})
    assert (relu.precision, relu.reads) == ("fp16", {"h": 2 * 20})
    assert as_method(plain, Arithmetic()) is plain


def test_probes_become_rates():
    seconds = {name: probe.ops / 1e9 + probe.moved / ROOM + 1e-6 for name, probe in PROBES.items()}
    found = rates_of({**seconds, "kernel": 1e-6}, "made up")
    assert found.kernel_s == 1e-6
    assert found.ops_per_s["product", "fp32"] == pytest.approx(1e9, rel=0.2)
    assert found.bytes_per_s(32e6) == pytest.approx(ROOM, rel=0.1)
    assert found.basis == "made up"


def test_the_rates_of_this_machine_are_measured_once_and_said_to_be_of_a_busy_one(tmp_path, monkeypatch, caplog):
    asked = []

    def measured(runtime, threads):
        asked.append(runtime)
        return dict.fromkeys(PROBES, 1e-3)

    monkeypatch.setattr(calibrate, "measure", measured)
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 9.0, 9.0))
    store = Store(tmp_path)
    first, again = (calibrate.machine_rates("onnxruntime", store) for _ in range(2))
    assert (asked, first) == (["onnxruntime"], again)
    assert "measured while this machine is busy (load 9.0 on" in caplog.text
    assert "--fresh" in caplog.text
    calibrate.machine_rates("onnxruntime", store, fresh=True)
    assert asked == ["onnxruntime"] * 2


def test_this_machine_is_measured_in_its_runtime():
    found = measure("onnxruntime", 1, rounds=1)
    assert set(found) == set(PROBES)
    assert rates_of(found, "").ops_per_s["product", "fp32"] > 1e8
