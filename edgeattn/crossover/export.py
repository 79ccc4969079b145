"""Exports the graphs of a crossover into a folder that `edgeattn measure` times, on this machine or another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from edgeattn.attention import ATTENTION
from edgeattn.attention.variant import Shape, Variant, VariantOptions
from edgeattn.crossover.block import add_projections, core, ending_uncopied
from edgeattn.devices import DeviceProfile
from edgeattn.errors import ToolError
from edgeattn.export.onnx import PREFERRED_OPSET, save
from edgeattn.measure.graphs import DENSE, GRAPH, Effort, Form, Graphs, Listing, write
from edgeattn.progress import Progress
from edgeattn.runtimes import RUNTIMES

PLAIN = "plain"


@dataclass(frozen=True)
class Setting:
    """What is measured. variants: name -> checked options. lengths: tokens, ascending."""

    heads: int
    head_dim: int
    lengths: tuple[int, ...]
    variants: Mapping[str, VariantOptions]
    causal: bool = False
    key_mask: bool = True
    batch_size: int = 1
    threads: int | None = None


def export(
    setting: Setting,
    target: DeviceProfile,
    folder: Path,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> Graphs:
    """Fill the empty `folder` with a graph for each form that a runtime of the target may run.

    Raises ToolError for a variant that cannot be exported.
    """
    exporter = _Exporter(setting, target, folder, progress or Progress())
    forms = exporter.forms()
    listing = Listing(
        heads=setting.heads,
        head_dim=setting.head_dim,
        lengths=setting.lengths,
        causal=setting.causal,
        key_mask=setting.key_mask,
        batch_size=setting.batch_size,
        threads=setting.threads,
        options={name: options.model_dump(mode="json") for name, options in setting.variants.items()},
        target=target,
        effort=effort or Effort(),
        opset=PREFERRED_OPSET,
        torch=str(torch.__version__),
        forms=tuple(forms),
        notes=tuple(exporter.notes),
        files={},
    )
    return write(folder, listing)


class _Exporter:
    def __init__(self, setting: Setting, target: DeviceProfile, folder: Path, progress: Progress) -> None:
        self.setting, self.folder, self.progress = setting, folder, progress
        self.runtimes = [support.name for support in target.runtimes if support.name in RUNTIMES]
        self.shape = Shape(setting.heads, setting.head_dim, setting.head_dim**-0.5, setting.causal)
        self.options = {DENSE: ATTENTION[DENSE].Options(), **setting.variants}
        self.notes: list[str] = []

    def forms(self) -> list[Form]:
        """Export all."""
        forms: list[Form] = []
        begun = time.monotonic()
        self.progress.stage("export", "a graph for each form")
        for done, name in enumerate(self.options):
            for length in (None,) if ATTENTION[name].dynamic_length else self.setting.lengths:
                try:
                    forms += self._of(name, length)
                except ToolError as error:
                    if length is None:
                        raise
                    self.notes.append(f"{name} at N = {length}: left out, {error.fact}")
            self.progress.update(done + 1, len(self.options), variant=name)
        self.progress.finish("export", time.monotonic() - begun, note=f"{len(forms)} graphs")
        return forms

    def _of(self, name: str, length: int | None) -> Iterator[Form]:
        """The plain form, for all runtimes, and one for each other set of fused operators that a runtime has."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # parameters are where training starts them
            variant: Variant = ATTENTION[name](self.shape, self.options[name])
        graphs: dict[str, tuple[ir.Model, list[str]]] = {}
        none: frozenset[str] = frozenset()
        sets = [none, *(variant.operators & RUNTIMES[each].operators for each in self.runtimes)]
        for operators in dict.fromkeys(sets):
            graph = core(variant, key_mask=self.setting.key_mask, operators=operators, length=length)
            held = {node.op_type: f"{node.domain}::{node.op_type}" for node in graph.graph.all_nodes()}
            held = {op_type: whole for op_type, whole in held.items() if whole in operators}
            form = "+".join(sorted(held)) or PLAIN
            if form not in graphs:
                able = [each for each in self.runtimes if set(held.values()) <= RUNTIMES[each].operators]
                graphs[form] = (graph, able)
        for form, (graph, able) in graphs.items():
            yield from self._written(graph, name, form, length, able)

    def _written(
        self, graph: ir.Model, name: str, form: str, length: int | None, runtimes: list[str]
    ) -> Iterator[Form]:
        lengths, options, batch = self.setting.lengths, self.options[name], self.setting.batch_size
        memory = tuple(ATTENTION[name].cost(options, each, self.shape).bytes * batch for each in lengths)
        for projections in (False, True):
            if projections:
                add_projections(graph, self.shape.heads * self.shape.head_dim)
            folder = f"{name}-{form}-{length or 'any'}-{'projections' if projections else 'core'}"
            (self.folder / folder).mkdir()
            with nullcontext() if projections else ending_uncopied(graph):
                save(graph, self.folder / folder / GRAPH)
            yield Form(
                variant=name, name=form, projections=projections, length=length, folder=folder,
                runtimes=tuple(runtimes), memory_bytes=memory,
            )  # fmt: skip
