"""What the forms of a model take on a device, predicted: rows for each form, runtime, power mode and length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from edgeattn.bench.crossing import crossing
from edgeattn.bundle import Bundle
from edgeattn.devices import DeviceProfile, usable_threads
from edgeattn.errors import InputError
from edgeattn.estimate.asked import Asked, asked_of
from edgeattn.estimate.calibrate import machine_rates
from edgeattn.estimate.forms import Form, compiles, kernels
from edgeattn.estimate.rates import Rates, profile_rates
from edgeattn.estimate.roofline import computable, time
from edgeattn.manifest import Side
from edgeattn.recognition import installed_here, usable_runtimes
from edgeattn.runtimes import RUNTIMES
from edgeattn.store import Store

_GRID = tuple(round(16 * 2 ** (step / 2)) for step in range(19))  # lengths that crossings are looked for at, to 8192


@dataclass(frozen=True)
class Row:
    """A form in a runtime, in a power mode, at a length.

    length: None for a model whose inputs have one size. mode: None for a device without power modes.
    bound: what most of the time goes to, "operations", "memory" or "starts" of kernels.
    energy_mj: the mode's budget or the profile's power model, times the latency; None where neither is known.
    """

    length: int | None
    mode: str | None
    side: Side
    form: str
    method: str
    runtime: str
    latency_ms: float
    flops: float
    bytes: float
    kernels: int
    bound: str
    energy_mj: float | None


def predicted(bundle: Bundle, profile: DeviceProfile, lengths: Sequence[int] | None = None) -> list[Row]:
    """The rows of a bundle's candidates on a device, the fastest first at each length and power mode.

    lengths: those that the bundle is timed at when None. Raises InputError for a profile without the facts that an
    estimate takes, and for a graph that cannot be counted.
    """
    return rows_of(asked_of(bundle, lengths), profile, rates_of(profile))


def rates_of(profile: DeviceProfile, *, fresh: bool = False) -> dict[str, list[Rates]]:
    """runtime -> its rates in each power mode: measured where the device is this machine, else from the profile.

    Of a device with a GPU only the preferred runtime: its peaks are the GPU's. fresh: measure again.
    Raises InputError for a profile without the facts, DeviceError where no runtime is installed that can be measured.
    """
    if profile.probe:
        store = Store(Store.default_root())
        usable = usable_runtimes(profile, installed_here())
        return {support.name: [machine_rates(support.name, store, fresh=fresh)] for support in usable}
    supports = profile.runtimes[:1] if profile.gpu else profile.runtimes
    return {support.name: profile_rates(profile) for support in supports}


def rows_of(asked: Asked, profile: DeviceProfile, rates: Mapping[str, Sequence[Rates]]) -> list[Row]:
    """The fastest first at each length and power mode. Raises InputError where no form can be predicted."""
    rows = [row for length in asked.lengths for row in _at(asked, length, profile, rates)]
    if rows:
        return rows
    runtimes = " or ".join(rates)
    methods = dict.fromkeys(form.method for form in asked.forms if any(_runs(form, name, profile) for name in rates))
    if not methods:
        made = ", ".join(dict.fromkeys(form.method for form in asked.forms))
        raise InputError(
            f"no graph is for {runtimes}, which {profile.name} runs: there are {made}",
            where=profile.name,
            fix="estimate for the device that it was compiled for",
        )
    raise InputError(
        f"the profile of {profile.name} has no peak for {', '.join(methods)} in {runtimes}",
        where=profile.name,
        fix="give a profile with peaks of these precisions: --target ./board.yaml",
    )


def _runs(form: Form, runtime: str, profile: DeviceProfile) -> bool:
    """Whether the runtime runs the form on the device."""
    support = next(each for each in profile.runtimes if each.name == runtime)
    if form.method not in support.methods:
        return False
    if form.runtimes is not None:
        return runtime in form.runtimes
    return form.operators <= (RUNTIMES[runtime].operators if runtime in RUNTIMES else frozenset())


def _at(asked: Asked, length: int | None, profile: DeviceProfile, rates: Mapping[str, Sequence[Rates]]) -> list[Row]:
    sizes = {asked.axis: length} if asked.axis and length else {}
    found = []
    for runtime, modes in rates.items():
        for form in asked.forms:
            if not _runs(form, runtime, profile):
                continue
            counted = form.counted(sizes)
            for name, run, starts in kernels(counted, runtime, form):
                for each in modes:
                    if computable(run, each):
                        took = time(run, each, extra_starts=starts)
                        shares = {"operations": took.ops_s, "memory": took.bytes_s, "starts": took.start_s}
                        found.append(
                            Row(
                                length, each.mode, form.side, name, form.method, runtime, took.seconds * 1e3,
                                counted.flops, sum(kernel.bytes for kernel in run), len(run),
                                max(shares, key=shares.__getitem__), _energy_mj(took.seconds, each, profile),
                            )
                        )  # fmt: skip
    modes_in_order = list(dict.fromkeys(row.mode for row in found))
    return sorted(found, key=lambda row: (modes_in_order.index(row.mode), row.latency_ms))


def _energy_mj(seconds: float, rates: Rates, profile: DeviceProfile) -> float | None:
    if rates.watts is not None:
        return rates.watts * seconds * 1e3
    if (model := profile.energy.power_model) is None or profile.gpu is not None:
        return None
    cores = usable_threads() if profile.probe else profile.cpu.cores if profile.cpu else None
    return None if cores is None else (model.watts_per_core * cores + (model.idle_watts or 0)) * seconds * 1e3


def best(rows: Iterable[Row]) -> dict[tuple[str | None, int | None], dict[Side, Row]]:
    """(power mode, length) -> the fastest row of each side."""
    found: dict[tuple[str | None, int | None], dict[Side, Row]] = {}
    for row in rows:
        sides = found.setdefault((row.mode, row.length), {})
        if row.side not in sides or row.latency_ms < sides[row.side].latency_ms:
            sides[row.side] = row
    return found


def document(
    asked: Asked, profile: DeviceProfile, rates: Mapping[str, Sequence[Rates]], *, of: str, name: str
) -> dict[str, Any]:
    """The prediction as JSON. of: "recipe" or "bundle". name: of it.

    comparisons: for each power mode and length the fastest row of each side, and dense / efficient. pays: for each mode
    the length from which it is more than 1, looked for between 16 and 8192.
    """
    rows = rows_of(asked, profile, rates)
    comparisons = list(_comparisons(rows))
    pays = []
    if asked.axis is not None:
        longest = asked.longest or _GRID[-1]
        grid = sorted({length for length in (*_GRID, *filter(None, asked.lengths)) if length <= longest})
        everywhere = list(_comparisons(rows_of(asked.at(grid), profile, rates)))
        for mode, group in groupby(
            sorted(everywhere, key=lambda each: str(each["mode"])), key=lambda each: each["mode"]
        ):
            ratios = {each["length"]: {"ratio": each["speedup"], "low": None, "high": None} for each in group}
            pays.append({"mode": mode, **asdict(crossing(ratios)), "tried": [grid[0], grid[-1]]})
    modes = list(dict.fromkeys(row.mode for row in rows))
    default = next((mode.name for mode in profile.power_modes if mode.default and mode.name in modes), modes[0])
    return {
        "schema": 1,
        "predicted": True,
        "of": of,
        "name": name,
        "target": profile.name,
        "unit": asked.unit,
        "default_mode": default,
        "comparisons": comparisons,
        "pays": pays,
        "rows": [asdict(row) for row in rows],
        "assumptions": list(_assumptions(profile, rates)),
    }


def _comparisons(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for (mode, length), sides in best(rows).items():
        if len(sides) == 2:
            speedup = sides["dense"].latency_ms / sides["efficient"].latency_ms
            yield {
                "mode": mode, "length": length, "speedup": speedup if math.isfinite(speedup) else None,
                **{side: asdict(row) for side, row in sides.items()},
            }  # fmt: skip


def _assumptions(profile: DeviceProfile, rates: Mapping[str, Sequence[Rates]]) -> Iterator[str]:
    yield "one inference at a time, batch 1, inputs and outputs already where the device computes"
    yield from dict.fromkeys(each.basis for modes in rates.values() for each in modes)
    if compilers := [name for name in rates if compiles(name)]:
        names = " and ".join(compilers)
        yield f"{names}: dense attention is one kernel, which never writes its scores; else dense is slower than this"
    if any(each.watts is not None for modes in rates.values() for each in modes):
        yield "energy is the power mode's budget times the latency, an upper bound: a mode caps clocks, not watts"
    elif profile.energy.power_model is not None and profile.gpu is None:
        yield f"energy is all cores busy in the profile's power model ({profile.energy.power_model.source})"
