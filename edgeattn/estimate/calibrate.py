"""The rates of a runtime on this machine, measured once with `probes` and stored."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from edgeattn import worker
from edgeattn.devices import fingerprint, usable_cores, usable_threads
from edgeattn.errors import EdgeattnError
from edgeattn.estimate.count import Kind
from edgeattn.estimate.rates import Rates
from edgeattn.quantize.arithmetic import Precision
from edgeattn.runtimes.base import Arrays
from edgeattn.store import Store

LOG = logging.getLogger("edgeattn")
_VERSION = 3  # of the probes
_TIMEOUT_S = 600.0
_QUIET = 0.5  # load per core
_ROUNDS, _ROUND_S = 5, 0.03
# A copy between layouts takes about three times as long as a pass over the same bytes in order: 26 and 85 GB/s for
# MiniLM's heads on an AMD EPYC. Runtimes merge chains of copies, so that no probe can time one.
_MORE_PASSES_OF_A_COPY = 2
_LEAST_SHARE = 0.1  # of a probe's time that its operations take at least: what is taken off is as uncertain as this


def machine_rates(runtime: str, store: Store, *, threads: int | None = None, fresh: bool = False) -> Rates:
    """The rates of `runtime` here; from the store, or measured now in 10 s.

    threads: the usable cores when None. fresh: measure again. Raises DeviceError where the runtime is not installed.
    """
    from edgeattn.runtimes import RUNTIMES

    version, threads = RUNTIMES[runtime].require(), threads or usable_threads()
    artifact = store.run(
        "rates", _VERSION, reads={"runtime": runtime, "threads": threads, "machine": fingerprint()},
        libraries={runtime: version}, fresh=fresh,
        build=lambda out, work: {"seconds": _on_a_quiet_machine(runtime, threads)},
    )  # fmt: skip
    return rates_of(
        artifact.meta["seconds"],
        f"rates measured on this machine in {runtime} {version}, {threads} thread{'s' * (threads > 1)}",
    )


def _on_a_quiet_machine(runtime: str, threads: int) -> dict[str, float]:
    """As `measure`; what else runs here is said, since the rates are kept."""
    busy = os.getloadavg()[0]
    if busy > _QUIET * usable_cores():
        LOG.warning(
            "the rates of %s are measured while this machine is busy (load %.1f on %g cores), and may be too low: "
            "`edgeattn estimate --fresh` measures them again when it is quiet",
            runtime, busy, usable_cores(),
        )  # fmt: skip
    return measure(runtime, threads)


def rates_of(seconds: Mapping[str, float], basis: str) -> Rates:
    """The rates that the times of the probes' links give."""
    from edgeattn.estimate.probes import PROBES

    kernel_s = max(seconds["kernel"], 0.0)
    bandwidth = [
        (probe.moved, probe.moved / max(seconds[name], 1e-9))
        for name, probe in PROBES.items()
        if probe.kind == "bandwidth"
    ]
    rates = Rates({}, bandwidth, kernel_s, overlaps=False, basis=basis)
    ops: dict[tuple[Kind, Precision], float] = {}
    for name, probe in PROBES.items():
        if probe.kind in get_args(Kind) and name in seconds:
            taken_s = seconds[name]
            working_s = taken_s - kernel_s - probe.moved / rates.bytes_per_s(probe.moved)
            kind: Kind = probe.kind  # type: ignore[assignment]
            ops[kind, probe.precision] = probe.ops / max(working_s, _LEAST_SHARE * taken_s)
    ops["elementwise", "fp32"] = math.inf  # a pass over its bytes is all that it costs
    ops["copy", "fp32"] = rates.bytes_per_s(4e6) / 8 / _MORE_PASSES_OF_A_COPY  # 8 bytes: read and written
    ops["reduction", "fp32"] = ops["norm", "fp32"] / 2  # a norm is two reductions, and the rest takes no longer
    ops["depthwise", "fp32"] = ops["product", "fp32"] / 8
    return Rates(ops, bandwidth, kernel_s, overlaps=False, basis=basis)


def measure(runtime: str, threads: int, rounds: int = _ROUNDS) -> dict[str, float]:
    """probe -> seconds of one link, in a fresh process. A probe that the runtime cannot run is left out."""
    argument = {"runtime": runtime, "threads": threads, "rounds": rounds}
    found: dict[str, float] = worker.call(
        "edgeattn.estimate.calibrate:work", argument, stage="calibrate", timeout_s=_TIMEOUT_S
    )
    return found


def work(argument: Mapping[str, Any]) -> dict[str, float]:
    """The worker's side of `measure`."""
    import numpy as np
    import onnx

    from edgeattn.estimate.probes import PROBES
    from edgeattn.runtimes import RUNTIMES

    runtime = RUNTIMES[argument["runtime"]]
    # On one core, CPU time is the time that a run takes where nothing interrupts it.
    clock = time.process_time if argument["threads"] == 1 else time.perf_counter
    found: dict[str, float] = {}
    for name, probe in PROBES.items():
        with tempfile.TemporaryDirectory(prefix="edgeattn-calibrate-") as folder:
            root = Path(folder)
            sessions = {}
            try:
                for length, make in (("short", probe.short), ("long", probe.long)):
                    model = make()
                    onnx.save(model, root / f"{length}.onnx")
                    runtime.build(root / f"{length}.onnx", root / length, method="fp32")
                    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
                    feeds: Arrays = {"x": np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
                    sessions[length] = (runtime.load(root, root / length, argument["threads"]), feeds)
            except EdgeattnError:
                continue  # the runtime lacks the operator, such as another one's fused attention
            best = dict.fromkeys(sessions, float("inf"))
            for session, feeds in sessions.values():
                session.run(feeds)
            for _ in range(argument["rounds"]):
                for length, (session, feeds) in sessions.items():
                    # The best: nothing makes a graph faster than it is, another load makes it slower.
                    best[length] = min(best[length], _best_s(session, feeds, clock))
        found[name] = (best["long"] - best["short"]) / probe.links
    return found


def _best_s(session: Any, feeds: Any, clock: Callable[[], float]) -> float:
    best, until = float("inf"), time.perf_counter() + _ROUND_S
    while True:
        begun = clock()
        session.run(feeds)
        best = min(best, clock() - begun)
        if time.perf_counter() > until:
            return best
