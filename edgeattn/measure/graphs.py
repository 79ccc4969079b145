"""A folder of attention graphs to be timed: its document graphs.json, and the checks before native code sees a graph.

`edgeattn crossover` writes it where torch is, `edgeattn measure` reads it on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, model_validator

from edgeattn.devices.profile import DeviceProfile, Name
from edgeattn.errors import BundleError
from edgeattn.files import check_listed, entry_of, walk
from edgeattn.interface import BATCH, TensorSpec
from edgeattn.jsonfile import read_json
from edgeattn.manifest import FileEntry
from edgeattn.registry import did_you_mean
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.graphs import check_graph
from edgeattn.store import sha256_file, write_json
from edgeattn.validation import Count, Distinct, Many, Part

SCHEMA_VERSION = 1
LISTING = "graphs.json"
GRAPH = "model.onnx"
DENSE = "dense"  # the baseline
INPUTS = ("q", "k", "v")
HIDDEN = "hidden_states"
MASK = "key_mask"
_SEQUENCE = "sequence"
_AGAIN = "copy the folder again, or make it again with `edgeattn crossover --export FOLDER`"

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Effort(Part):
    """How long to measure: all forms take turns in each round; six rounds give a 96.9 % interval.

    limit_s: a length is left out if it would end after this, estimated from the length before.
    """

    rounds: Annotated[int, Field(ge=1, le=1000)] = 6
    block_s: Seconds = 0.03
    warm_s: Seconds = 0.05
    limit_s: Seconds = 900.0


class Form(Part):
    """A graph of a variant, GRAPH in `folder`.

    name: "plain", or the fused operators that it uses. runtimes: that can run it. projections: around the attention.
    length: the only one of the graph; None: any. memory_bytes: that an inference takes at each of the lengths, about.
    """

    variant: Name
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+_]{0,99}$")]
    projections: bool
    length: Count | None
    folder: Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9+_-]{0,199}$")]
    runtimes: Distinct[Name]
    memory_bytes: Many[NonNegativeInt]


class Listing(Part):
    """graphs.json.

    options: of each variant beside dense. threads: of an engine; None: the usable cores. target: the device that is
    measured, with the runtimes to measure with. opset, torch: that the graphs were exported with.
    notes: what could not be exported. files: all others in the folder.
    """

    schema_version: Literal[1] = 1
    heads: Count
    head_dim: Count
    lengths: Distinct[Count]
    causal: bool
    key_mask: bool
    batch_size: Count
    threads: Count | None
    options: dict[Name, dict[str, Any]]
    target: DeviceProfile
    effort: Effort
    opset: Count
    torch: str
    forms: Many[Form]
    notes: Many[str]
    files: dict[str, FileEntry]

    @property
    def name(self) -> str:
        """For messages: "crossover of 12 heads of 32"."""
        return f"crossover of {self.heads} heads of {self.head_dim}"

    @property
    def width(self) -> int:
        """Of the hidden states."""
        return self.heads * self.head_dim

    @model_validator(mode="after")
    def _fits_together(self) -> Listing:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        if list(self.lengths) != sorted(self.lengths):
            yield f"the lengths {list(self.lengths)} are not in ascending order"
        for form in self.forms:
            if form.variant != DENSE and form.variant not in self.options:
                yield f"{form.folder} is of {form.variant}, which is not among the options"
            if form.length is not None and form.length not in self.lengths:
                yield f"{form.folder} is for {form.length} tokens, which is not among the lengths"
            if len(form.memory_bytes) != len(self.lengths):
                yield f"{form.folder} has {len(form.memory_bytes)} memory_bytes for {len(self.lengths)} lengths"


@dataclass(frozen=True)
class Graphs:
    """A folder of graphs that was checked when it was opened."""

    path: Path
    listing: Listing

    @classmethod
    def open(cls, path: Path) -> Graphs:
        """Read a folder and check all of its files.

        Raises BundleError for one that is none, a newer schema, a path that leaves the folder, a link, a file that is
        missing or changed, an unknown runtime, and for a graph that is not what graphs.json says.
        """
        file = path / LISTING
        if not file.is_file():
            fix = "make it with `edgeattn crossover --export FOLDER`; a bundle is timed by `edgeattn bench`"
            raise BundleError(f"holds no {LISTING}", where=str(path), fix=fix)
        listing = read_json(file, Listing, newest=SCHEMA_VERSION, fix=_AGAIN)
        for _ in walk(path, _AGAIN):  # refuses a link, of a folder too
            pass
        for name, entry in listing.files.items():
            check_listed(path, name, entry, LISTING, _AGAIN)
        for form in listing.forms:
            _check_form(path, form, listing)
        return cls(path, listing)

    @property
    def name(self) -> str:
        """For messages."""
        return self.listing.name

    @property
    def key(self) -> str:
        """The folder is a new one for each crossover: a device keeps the files of the last one."""
        return "crossover"

    @property
    def document(self) -> Path:
        """graphs.json."""
        return self.path / LISTING

    def files(self) -> dict[str, tuple[str, int]]:
        """path -> digest, bytes of all files that belong to it."""
        listed = {name: (entry.sha256, entry.bytes) for name, entry in self.listing.files.items()}
        return {**listed, LISTING: (sha256_file(self.document), self.document.stat().st_size)}


def write(folder: Path, listing: Listing) -> Graphs:
    """Make a folder with graphs one that can be opened: digest its files, and write graphs.json."""
    files = {file.relative_to(folder).as_posix(): entry_of(file) for file in walk(folder, _AGAIN)}
    listing = listing.model_copy(update={"files": files})
    write_json(folder / LISTING, listing.model_dump(mode="json"))
    return Graphs(folder, listing)


def tensors(listing: Listing, *, projections: bool) -> tuple[TensorSpec, ...]:
    """The inputs of the graphs. float32 [batch, sequence, width]; the mask: bool [batch, sequence]."""
    dims = (BATCH, _SEQUENCE, listing.width)
    names = (HIDDEN,) if projections else INPUTS
    given = tuple(TensorSpec(name=name, dtype="float32", dims=dims) for name in names)
    return (*given, TensorSpec(name=MASK, dtype="bool", dims=dims[:2])) if listing.key_mask else given


def _check_form(path: Path, form: Form, listing: Listing) -> None:
    where, inside = str(path / LISTING), f"{form.folder}/"
    for runtime in form.runtimes:
        if runtime not in RUNTIMES:
            fix = did_you_mean(runtime, list(RUNTIMES))
            raise BundleError(f"{form.folder} needs the unknown runtime {runtime!r}", where=where, fix=fix)
    files = {name.removeprefix(inside): entry for name, entry in listing.files.items() if name.startswith(inside)}
    if GRAPH not in files:
        raise BundleError(f"{inside}{GRAPH} is not listed", where=where, fix=_AGAIN)
    operators = {operator for runtime in form.runtimes for operator in RUNTIMES[runtime].operators}
    check_graph(
        path / form.folder / GRAPH,
        files,
        domains={operator.partition("::")[0] for operator in operators},
        inputs=tensors(listing, projections=form.projections),
        outputs=(),
        sizes={_SEQUENCE: form.length} if form.length else {},
        document=LISTING,
    )
