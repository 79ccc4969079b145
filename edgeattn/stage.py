"""How a stage of the pipeline runs: through the store, with its progress shown."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeattn import __version__
from edgeattn.progress import Progress
from edgeattn.store import Artifact, Store


def versions(*packages: str) -> dict[str, str]:
    """name -> installed version, of edgeattn and of `packages`."""
    return {"edgeattn": __version__, **{name: importlib.metadata.version(name) for name in packages}}


@dataclass(frozen=True)
class Runner:
    """Runs stages one after another."""

    store: Store
    progress: Progress
    fresh: bool = False

    def __call__(
        self,
        name: str,
        version: int,
        *,
        reads: Any,
        inputs: Sequence[Artifact | str] = (),
        libraries: Sequence[str] = (),
        build: Callable[[Path, Path], dict[str, Any]],
    ) -> Artifact:
        """The stage's artifact; see `Store.run`. Of its meta, "note" is a few words for the terminal."""
        started = time.monotonic()
        self.progress.stage(name)
        artifact = self.store.run(
            name,
            version,
            reads=reads,
            inputs=inputs,
            libraries=versions(*libraries),
            build=build,
            fresh=self.fresh,
        )
        self.progress.finish(name, time.monotonic() - started, cached=artifact.cached, note=artifact.meta["note"])
        return artifact
