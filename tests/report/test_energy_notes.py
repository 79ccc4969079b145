"""What a report says of its energies."""

from __future__ import annotations

import io
from typing import Any

import bench_documents

from edgeattn.report.table import show_bench


def _shown(engines: dict[str, Any], **document: Any) -> str:
    bench = bench_documents.bench({128: (2.0, 1.9, 2.1)})
    for engine in bench["cells"][0]["contestants"].values():
        engine |= engines
    stream = io.StringIO()
    show_bench({**bench, **document}, stream)
    return stream.getvalue()


MEASURED = {
    "energy_mj": 12.34,
    "energy_net_mj": 8.1,
    "energy_scope": "module",
    "energy_source": "INA3221: VDD_IN",
    "energy_window_s": 10.02,
    "energy_unavailable": None,
}
METER = {"name": "ina3221", "scope": "module", "period_s": 0.05, "full_window_s": 10.0, "idle_watts": 4.2}


def test_gross_and_net_with_what_they_cover() -> None:
    text = _shown(MEASURED, meter=METER)

    assert "12.3 mJ (module, net 8.1)" in text
    assert "energy is gross and covers the module, without its carrier board (INA3221: VDD_IN); other scopes" in text
    assert "net energy leaves out the 4.2 W that are drawn with no engine running" in text
    assert "which is short" not in text


def test_an_engine_that_drew_no_more_than_an_idle_machine() -> None:
    text = _shown({**MEASURED, "energy_net_mj": None}, meter=METER)

    assert "an engine without net energy drew no more than the 4.2 W that are drawn with no engine running" in text
    assert "leaves out" not in text


def test_a_short_window_is_said() -> None:
    quick = {**MEASURED, "energy_net_mj": None, "energy_window_s": 0.7}
    text = _shown(quick, meter={**METER, "idle_watts": None})

    assert "12.3 mJ (module)" in text
    assert "energy was read over 0.7 s, which is short: a full session takes 10 s" in text
    assert "net" not in text


def test_a_failed_sensor_is_unavailable_with_the_reason() -> None:
    failed = {**dict.fromkeys(MEASURED), "energy_unavailable": "the sensor is stuck: 7 W for 5 s"}
    text = _shown(failed, meter={**METER, "idle_watts": None})

    assert "energy is n/a: the sensor is stuck: 7 W for 5 s" in text
    assert " 0 mJ" not in text


def test_an_estimate_says_why_the_sensor_is_not_used() -> None:
    text = _shown({**MEASURED, "energy_scope": "model"}, meters_passed_over={"rapl": "only \x1b[2Jroot may"})

    assert "energy is an estimate from CPU time and the device's power model, not a measurement" in text
    assert "no energy from rapl: only root may" in text
