"""The least time that a device allows the operators of a profiled engine: the roofline of what each of them runs.

An operator that runs several nodes reads and writes only what other operators write and read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeattn.devices.profile import DeviceProfile
from edgeattn.estimate.calibrate import machine_rates
from edgeattn.estimate.count import Counted, Work, count
from edgeattn.estimate.fuse import Kernel
from edgeattn.estimate.graph import read, sized
from edgeattn.estimate.rates import Rates, peak_rates
from edgeattn.estimate.roofline import computable, parts
from edgeattn.store import Store


def work(argument: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's answer to `edgeattn.profiling.roofline`.

    argument: {cells: [{graph: a path, sizes: {axis: size}, kinds: {kind: [[place of a node in the graph]]}}],
     measured: {runtime, threads} or None, profile: of the device in place of it, as JSON, power_mode: a name or None};
    each list of places is one operator.
    Returns {basis, cells: [{kinds: {kind: {roofline_ms, flops, bytes}}, flops}]}; flops of a cell: of the whole graph.
    roofline_ms is None where there is no rate for what the kind does.
    Raises ModelError for a graph that cannot be counted, InputError for a profile without peaks.
    """
    if measured := argument["measured"]:
        rates = machine_rates(measured["runtime"], Store(Store.default_root()), threads=measured["threads"])
    else:
        profile = DeviceProfile.model_validate_json(argument["profile"])
        rates = peak_rates(profile, argument["power_mode"])
    cells = []
    for cell in argument["cells"]:
        graph = Path(cell["graph"])
        model = read(graph)
        outputs = [node.output[0] for node in model.graph.node]
        counted = count(sized(model, cell["sizes"], graph.name))
        bounds = Bounds(counted, rates)
        kinds = {
            kind: bounds.of([[outputs[place] for place in places] for places in operators])
            for kind, operators in cell["kinds"].items()
        }
        cells.append({"kinds": kinds, "flops": counted.flops})
    return {"basis": rates.basis, "cells": cells}


class Bounds:
    """The roofline of a counted graph, operator by operator."""

    def __init__(self, counted: Counted, rates: Rates) -> None:
        self._rates, self._outputs = rates, counted.outputs
        self._works = {next(iter(work.writes)): work for work in counted.works}  # first output -> what the node does
        self._readers: dict[str, set[str]] = defaultdict(set)  # tensor -> first outputs of the nodes that read it
        weights: dict[str, float] = {}
        for output, each in self._works.items():
            for name in each.reads:
                self._readers[name].add(output)
            weights |= {name: each.reads[name] for name in each.weights}
        # As in `roofline.time`: between two readings of a weight lie those of all others.
        self._weights_per_s = rates.bytes_per_s(max(sum(weights.values()), 1))

    def of(self, operators: Iterable[Sequence[str]]) -> dict[str, Any]:
        """What operators take together. operators: each the first outputs of the nodes that it runs."""
        kernels = [self._joined(nodes) for nodes in operators]
        known = computable(kernels, self._rates)
        seconds = sum(max(parts(kernel, self._rates, self._weights_per_s)) for kernel in kernels) if known else None
        return {
            "roofline_ms": None if seconds is None else seconds * 1e3,
            "flops": sum(ops for kernel in kernels for (kind, _), ops in kernel.ops.items() if kind != "copy"),
            "bytes": sum(kernel.bytes for kernel in kernels),
        }

    def _joined(self, nodes: Sequence[str]) -> Kernel:
        inside = [output for output in nodes if output in self._works]
        works: list[Work] = [self._works[output] for output in inside]
        kernel = Kernel(nodes[0] if nodes else "")
        made = {name for each in works for name in each.writes}
        for each in works:
            key = (each.kind, each.precision)
            kernel.ops[key] = kernel.ops.get(key, 0) + each.ops
            kernel.reads |= {name: size for name, size in each.reads.items() if name not in made}
            kernel.writes |= {
                name: size
                for name, size in each.writes.items()
                if name in self._outputs or not self._readers[name] <= set(inside)
            }
            kernel.weights |= each.weights
        return kernel
