"""The share of the roofline that each kind of work reaches: the least time that the device allows it, by its time.

Operations and bytes are counted from the graph, which takes the host half: in a process of its own, and where it is
not installed, such as on a device, nothing is made up. A host that brings the profile back adds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from edgeattn.bundle import Bundle
from edgeattn.devices.profile import DeviceProfile
from edgeattn.errors import BundleError, EdgeattnError
from edgeattn.interface import BATCH
from edgeattn.recognition import profile_of
from edgeattn.worker import call

ABOVE = (
    "an engine may skip bytes that were counted or compute in fewer bits than its graph says, and rates that were "
    "measured on a busy machine are too low"
)
_NOT_COUNTED = "operations are counted where edgeattn[compile] is installed"
_NOT_HERE = "the rates of this device are measured on itself, with edgeattn[compile] installed there"
_TIMEOUT_S = 900.0


def with_roofline(document: Mapping[str, Any], bundles: Sequence[Bundle], *, here: bool = True) -> dict[str, Any]:
    """A profile document with the roofline of each kind and cell, and "roofline": {basis, above, unavailable}.

    bundles: that were profiled. here: on this machine; else their target's rates are known from its profile alone.
    A kind and a cell get roofline_ms, of_roofline, flops and bytes, None where unknown; a cell also counted, the share
    of the graph's operations that its operators were traced to.
    """
    found, bases, reasons = dict(document), list[str](), list[str]()
    found["contestants"] = {}
    owners = list(bundles) * (2 if len(bundles) == 1 else 1)
    of = dict(zip(document["contestants"], owners, strict=False))
    for name, contestant in document["contestants"].items():
        bounds: dict[str, Any] = {"cells": [None] * len(contestant["cells"])}
        try:
            if contestant["cells"]:
                bounds = _bounds(contestant, document, of[name], here=here)
                bases.append(bounds["basis"])
        except EdgeattnError as error:
            reasons.append(error.fact)
        cells = [_cell(*each) for each in zip(contestant["cells"], bounds["cells"], strict=True)]
        found["contestants"][name] = {**contestant, "cells": cells}
    basis = "; ".join(dict.fromkeys(bases)) or None
    unavailable = "; ".join(dict.fromkeys(reasons)) or None
    found["roofline"] = {"basis": basis, "above": ABOVE, "unavailable": unavailable}
    return found


def _bounds(contestant: Mapping[str, Any], document: Mapping[str, Any], bundle: Bundle, *, here: bool) -> Any:
    """The answer of `edgeattn.estimate.bounds`. Raises EdgeattnError where there is none."""
    if find_spec("onnx") is None:
        raise EdgeattnError(_NOT_COUNTED)
    device = profile_of(bundle)
    measured = not _has_peaks(device)
    if measured and not here:
        raise EdgeattnError(_NOT_HERE)
    for cell in contestant["cells"]:
        if cell["graph"] not in bundle.manifest.files:  # the profile may be a device's
            raise BundleError(f"{cell['graph']} is not a graph of the bundle")
    axis = bundle.manifest.length_axis
    argument = {
        "measured": {"runtime": contestant["runtime"], "threads": document["threads"]} if measured else None,
        "profile": device.model_dump_json(),
        "power_mode": document["machine"].get("power_mode"),
        "cells": [
            {
                "graph": str(bundle.path / cell["graph"]),
                "sizes": {BATCH: cell["batch_size"], **({axis: cell["length"]} if axis and cell["length"] else {})},
                "kinds": {kind["kind"]: kind["nodes"] for kind in cell["kinds"]},
            }
            for cell in contestant["cells"]
        ],
    }
    return call("edgeattn.estimate.bounds:work", argument, stage="roofline", timeout_s=_TIMEOUT_S)


def _has_peaks(device: DeviceProfile) -> bool:
    """Whether the profile says what the device can do at most; else that is measured."""
    modes = [mode.peaks for mode in device.power_modes]
    known = any(peaks.fp32 or peaks.fp16 or peaks.int8 for peaks in (device.peaks, *modes))
    return known and device.bandwidth_gb_per_s is not None


def _cell(cell: Mapping[str, Any], bounds: Mapping[str, Any] | None) -> dict[str, Any]:
    kinds = [
        {**kind, **_reached(kind["ms"], bounds["kinds"][kind["kind"]] if bounds and kind["nodes"] else None)}
        for kind in cell["kinds"]
    ]
    whole = None
    if bounds:
        known = [kind for kind in kinds if kind["roofline_ms"] is not None]
        whole = {key: sum(kind[key] for kind in known) for key in ("roofline_ms", "flops", "bytes")} if known else None
    counted = whole["flops"] / bounds["flops"] if bounds and whole and bounds["flops"] else None
    return {**cell, "kinds": kinds, **_reached(cell["total_ms"], whole), "counted": counted}


def _reached(ms: float, bound: Mapping[str, Any] | None) -> dict[str, float | None]:
    if bound is None or bound["roofline_ms"] is None:
        return dict.fromkeys(("roofline_ms", "of_roofline", "flops", "bytes"))
    return {**bound, "of_roofline": bound["roofline_ms"] / ms if ms else None}
