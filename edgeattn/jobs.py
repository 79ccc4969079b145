"""The jobs that need the device: a folder in, the same folder with evidence out, and one JSON document.

A job is also a command line, `edgeattn NAME FOLDER ARGUMENTS --json`, so a host that runs it on another machine types
what a person there would type.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgeattn.errors import ResourceError
from edgeattn.progress import Progress

if TYPE_CHECKING:
    from edgeattn.bundle import Bundle
    from edgeattn.gate.run import Options
    from edgeattn.gate.shipment import Shipment
    from edgeattn.measure.graphs import Graphs


class Folder(Protocol):
    """What a job works on, checked when it was opened: a bundle, or graphs that are only timed.

    name: for messages. key: by it, a device knows the folder again. document: the file that lists the others.
    """

    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def document(self) -> Path: ...

    def files(self) -> dict[str, tuple[str, int]]:
        """path -> digest, bytes of all files that the job may read."""
        ...


class DeviceJob(Protocol):
    """Work on a folder that only its target can do.

    name: the command `edgeattn NAME`.
    only_reports: it writes a bundle's reports at most, and changes no other file.
    """

    name: ClassVar[str]
    only_reports: ClassVar[bool]

    def arguments(self) -> tuple[str, ...]:
        """Its command line after `edgeattn NAME FOLDER`."""
        ...

    def open(self, folder: Path) -> Folder:
        """What the job works on. Raises BundleError where `folder` is not that, or its files were changed."""
        ...

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        """Do the work in `folder`, on this machine, and return the document.

        The evidence and the report are recorded in a bundle. Raises EdgeattnError.
        """
        ...

    def keep(self, folder: Folder, document: dict[str, Any]) -> None:
        """Keep on this machine what is worth keeping of a document that another one made; `run` does it here."""
        ...


class _KeepsNothing:
    """A job whose document goes to the caller only."""

    def keep(self, folder: Folder, document: dict[str, Any]) -> None:
        pass


class _OnBundle(_KeepsNothing):
    """A job on a bundle."""

    def open(self, folder: Path) -> Bundle:
        from edgeattn.bundle import Bundle

        return Bundle.open(folder)


@dataclass(frozen=True)
class Build(_OnBundle):
    """Makes engines of a bundle's candidates, times them, and keeps the best that is accurate.

    keep_candidates: keep the graphs that are not chosen too.
    """

    keep_candidates: bool = False

    name: ClassVar[str] = "build"
    only_reports: ClassVar[bool] = False

    def arguments(self) -> tuple[str, ...]:
        return ("--keep-candidates",) if self.keep_candidates else ()

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        from edgeattn.build.run import build
        from edgeattn.report.html import refresh
        from edgeattn.store import Store

        bundle = self.open(folder)
        progress.stage(self.name, f"{len(bundle.manifest.candidates)} candidates, timed in each runtime")
        document = build(
            bundle, store=Store(Store.default_root()), progress=progress, keep_candidates=self.keep_candidates
        )
        refresh(bundle)
        return document


@dataclass(frozen=True)
class Verify(_OnBundle):
    """Checks the efficient engine on its golden samples and evaluation data.

    threads: of the engine; the usable cores when None. The document's "passed" may be False.
    """

    threads: int | None = None

    name: ClassVar[str] = "verify"
    only_reports: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return _given("--threads", self.threads)

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        from edgeattn.bench.accuracy import check
        from edgeattn.report.html import refresh

        bundle = self.open(folder)
        document = check(bundle, threads=self.threads)
        bundle.record("verify.json", document)
        refresh(bundle)
        return document


@dataclass(frozen=True)
class Bench(_OnBundle):
    """Times the dense and the efficient engine side by side.

    lengths: in the unit of the length axis. pairs: of fresh processes. threads: of an engine. None: the bundle's own,
    or the usable cores.
    quick: warm up and time each process for seconds, not up to minutes.
    profile: then also time each operator, in processes of their own; the document has it as "profile".
    scenario: see `edgeattn.bench.scenarios`, with rate: requests per second, and batch_size: samples of an inference;
    its own when None.
    """

    lengths: tuple[int, ...] | None = None
    pairs: int | None = None
    threads: int | None = None
    quick: bool = False
    profile: bool = False
    scenario: str = "single"
    rate: float | None = None
    batch_size: int | None = None

    name: ClassVar[str] = "bench"
    only_reports: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return (
            *_given("--lengths", ",".join(map(str, self.lengths)) if self.lengths else None),
            *_given("--pairs", self.pairs),
            *_given("--threads", self.threads),
            *(("--quick",) if self.quick else ()),
            *(("--profile",) if self.profile else ()),
            *_given("--scenario", None if self.scenario == "single" else self.scenario),
            *_given("--rate", self.rate),
            *_given("--batch-size", self.batch_size),
        )

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        from edgeattn.profiling.run import parted
        from edgeattn.report.html import refresh

        bundle = self.open(folder)
        if not os.access(folder, os.W_OK):
            raise ResourceError(
                "the results cannot be recorded: the folder is read-only",
                where=str(folder),
                fix="give another folder with --out, or copy the bundle to a writable one",
            )
        document = self.over([bundle], progress)
        for name, each in parted(document, self.scenario).items():
            bundle.record(name, each)
        refresh(bundle)
        return document

    def over(self, bundles: Sequence[Bundle], progress: Progress) -> dict[str, Any]:
        """The document of one bundle, or of the shipped engines of several; nothing is recorded in them.

        The history of this machine has it.
        """
        from edgeattn.bench.bundles import bench
        from edgeattn.bench.protocol import Protocol
        from edgeattn.bench.scenarios import scenario_of
        from edgeattn.history.keep import keep

        scenario = scenario_of(self.scenario, rate_per_s=self.rate, batch_size=self.batch_size)
        protocol = Protocol.quick() if self.quick else Protocol()
        document = bench(
            bundles,
            lengths=self.lengths,
            pairs=self.pairs,
            threads=self.threads,
            scenario=scenario,
            protocol=protocol,
            progress=progress,
        )
        keep(document, bundles)
        if self.profile:
            from edgeattn.profiling.run import profiled

            progress.stage("profile", "each engine by its runtime's own profiler")
            document["profile"] = profiled(bundles, document, progress)
        return document

    def keep(self, folder: Folder, document: dict[str, Any]) -> None:
        from edgeattn.bundle import Bundle
        from edgeattn.history.keep import keep

        if isinstance(folder, Bundle):
            keep(document, [folder])
            if "profile" in document:
                from edgeattn.profiling.run import complete

                complete(document, folder)


@dataclass(frozen=True)
class Measure(_KeepsNothing):
    """Times the attention graphs of a crossover."""

    name: ClassVar[str] = "measure"
    only_reports: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return ()

    def open(self, folder: Path) -> Graphs:
        from edgeattn.measure.graphs import Graphs

        return Graphs.open(folder)

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        from edgeattn.measure.run import measure

        return measure(self.open(folder), progress)


@dataclass(frozen=True)
class Gate(_KeepsNothing):
    """Measures a candidate bundle against a baseline, both in one folder. The document is that of gate.json."""

    options: Options

    name: ClassVar[str] = "gate"
    only_reports: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return tuple(self.options.arguments())

    def open(self, folder: Path) -> Shipment:
        from edgeattn.gate.shipment import Shipment

        return Shipment.open(folder)

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        from edgeattn.gate.calibration import find
        from edgeattn.gate.run import gate

        shipment = self.open(folder)
        document = gate(
            shipment.candidate,
            shipment.baseline,
            self.options,
            calibration=find(self.options.quick),
            progress=progress,
        )
        return document.model_dump(mode="json", by_alias=True)


@dataclass(frozen=True)
class Calibrate(_OnBundle):
    """Measures the false alarms and the power of the gate on the machine that it runs on, and keeps them there."""

    quick: bool = False

    name: ClassVar[str] = "gate"
    only_reports: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return ("--calibrate", *(("--quick",) if self.quick else ()))

    def run(self, folder: Path, progress: Progress) -> dict[str, Any]:
        from edgeattn.gate import calibration

        found = calibration.calibrate(self.open(folder), quick=self.quick, progress=progress)
        calibration.save(found, calibration.file_of(self.quick))
        return found.model_dump(mode="json", by_alias=True)


def _given(option: str, value: object) -> tuple[str, ...]:
    return () if value is None else (option, str(value))
