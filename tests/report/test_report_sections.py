"""What single sections of the page say."""

from __future__ import annotations

import bench_documents
import pytest
import tiny_bundle
from report_pages import render, visible


@pytest.fixture
def manifest(tmp_path):
    return tiny_bundle.make(tmp_path / "tiny").manifest


@pytest.fixture
def bench():
    return bench_documents.bench({128: (0.9, 0.85, 0.95), 512: (1.6, 1.5, 1.7)})


def test_where_the_time_goes(manifest):
    page = render(manifest, profile=bench_documents.profile(), pictures=True)
    said = visible(page)
    for sentence in (
        "Time of one inference at 512 tokens by kind of work, under the profiler".lower(),
        "kind of work dense ms share efficient ms share attention 4 40 % 1 17 % matmul 5 50 % 5 83 % norm 1 10 % - -",
        "layer dense ms share efficient ms share before the first layer 10 100 % 6 100 % 0 10 100 % 6 100 %",
        "/encoder/MatMul matmul 0 10 100 %",
    ):
        assert sentence in said
    assert "of the roofline" not in said  # it is not known here
    assert 'aria-label="dense: matmul 5 ms, attention 4 ms, norm 1 ms; efficient:' in page


def test_the_share_of_the_roofline_where_it_is_known(manifest):
    profile = bench_documents.profile()
    profile["contestants"]["dense"]["cells"][0]["kinds"][0] |= {"roofline_ms": 1.0, "of_roofline": 0.25}
    said = visible(render(manifest, profile=profile))
    assert (
        "share of the roofline dense efficient attention 25 % n/a matmul n/a n/a norm n/a - all operators n/a n/a"
        in said
    )
    assert "roofline the shortest time in which the device could do this work" in said


def test_without_a_profile_it_says_how_to_get_one(manifest):
    assert "Not profiled yet: edgeattn bench BUNDLE --profile times every operator" in visible(render(manifest))


def test_the_training_curve(manifest):
    curve = [[10, 2.0], [20, 1.0], [30, 0.5]]
    phases = {"finetune": {"steps": 30, "loss": 0.4, "seconds": 9.5, "tokens": 1200, "curve": curve}}
    made = manifest.model_copy(update={"training": {"distill": phases}})
    page = render(made, pictures=True)
    assert 'aria-label="Line charts of the loss: finetune from 2 to 0.5."' in page
    assert "finetune 30 2 0.4 9.5 1200" in visible(page)
    assert "has no training curve" not in page


def test_conditions_in_words(manifest, bench):
    bench["conditions"] = {
        "start": {
            "power_mode": "15W", "governor": "schedutil", "cpu_mhz": [1510, 1984], "gpu_mhz": None,
            "temperatures_c": {"CPU": 51.5}, "throttles_at_c": {"CPU": 99.0}, "throttled": [],
            "over_current": {"VDD_IN": 2},
        },
        "end": {"temperatures_c": {"CPU": 63.0}, "cpu_mhz": [1984], "throttled": ["heat"],
                "over_current": {"VDD_IN": 3}},
        "discarded": [{"pair": 4, "reason": "the CPU throttled"}],
        "invalid": None,
    }  # fmt: skip
    said = visible(render(manifest, bench=bench))
    for sentence in (
        "power mode 15W clock governor schedutil",
        "processor clock, MHz 1510 to 1984 1984",
        "CPU, degrees C; slows down at 99 51.5 63",
        "VDD_IN, times so far 2 3",
        "slowed down by nothing heat",
        "1 pair was discarded, beside the 6 that count: pair 4: the CPU throttled",
    ):
        assert sentence in said
    assert "GPU clock" not in said  # unknown at both ends


def test_a_machine_that_shows_nothing_is_not_said_to_be_cool(manifest, bench):
    nothing = {"temperatures_c": {}, "throttled": [], "over_current": {}, "cpu_mhz": None}
    bench["conditions"] = {"start": nothing, "end": nothing, "discarded": [], "invalid": None}
    said = visible(render(manifest, bench=bench))
    assert "Clocks and temperatures: n/a. This machine shows neither clocks nor temperatures" in said
    assert "slowed down by" not in said


def test_a_scenario_has_its_own_columns_and_what_it_compares(manifest, bench):
    bench |= {
        "scenario": "server", "figure": "p99_ms", "compares": "the 99th percentile", "notes": ["its rate: 70 % of it"],
    }  # fmt: skip
    for cell in bench["cells"]:
        for engine in cell["contestants"].values():
            engine |= {"rate_per_s": 30.0, "completed_per_s": 29.5, "utilization": 0.7, "p99_ms": 40.0}
    bench["cells"][0]["speedups"]["efficient"] |= {"ratio": None, "low": None, "high": None, "confidence": None}
    said = visible(render(manifest, bench_server=bench))
    for sentence in (
        "Requests that arrive at random, the same schedule for every engine.",
        "scenario server: the ratios compare the 99th percentile",
        "its rate: 70 % of it",
        "128 efficient 30 29.5 0.7 22.2 21 40 no comparison with dense",
        "512 efficient 30 29.5 0.7 12.5 21 40 1.60 x faster than dense (1.50 to 1.70)",
    ):
        assert sentence in said


def test_arena_and_device_memory_where_they_are_known(manifest, bench):
    bench["cells"][1]["contestants"]["dense"]["arena_mb"] = 12.5
    said = visible(render(manifest, bench=bench))
    assert "tokens engine peak memory, MB arena, MB 128 dense 100 n/a" in said
    assert "512 dense 100 12.5 512 efficient 100 n/a" in said
    assert "Not known: device memory (it runs on the processor, or the device does not say)." in said


def test_a_hundred_layers_are_in_the_order_of_the_model(manifest):
    from edgeattn.report.sections.quantizing import _dots, _Layers

    errors = {f"layer.{number}.q": 1e-3 * (number + 1) for number in (10, 2, 0, 1)}
    assert [dot.value for dot in _dots(_Layers(["a"], errors, []))] == pytest.approx([1e-3, 2e-3, 3e-3, 11e-3])
