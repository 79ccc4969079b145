from __future__ import annotations

import os
from pathlib import Path

# One thread per test process, set before torch and numpy start theirs. On two cores, two workers with two OpenMP
# threads each wait for one another at every barrier: measured 10 times slower than with one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
import logging
from collections.abc import Iterator

import numpy as np
import pytest

from edgeattn import bundle


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command sets up logging for its process; after a test it is restored."""
    monkeypatch.delenv("EDGEATTN_DEBUG", raising=False)
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logger.level for name, logger in _loggers()}
    yield
    root.handlers[:] = handlers
    for name, logger in _loggers():
        logger.setLevel(levels.get(name, logging.NOTSET))


def _loggers() -> list[tuple[str, logging.Logger]]:
    known = logging.Logger.manager.loggerDict.items()
    return [(name, logger) for name, logger in known if isinstance(logger, logging.Logger)]


@pytest.fixture(autouse=True)
def _no_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benches of tests stay out of the history of the user who runs them."""
    monkeypatch.setenv("EDGEATTN_HISTORY", "off")


@pytest.fixture(scope="module")
def one_operator_table() -> Iterator[None]:
    """torch rebuilds its table of ONNX operators for every export, a fifth of the time of a small export."""
    from torch.onnx._internal.exporter import _registration

    with pytest.MonkeyPatch.context() as patch:
        apis = _registration.onnxscript_apis
        patch.setattr(apis, "get_torchlib_ops", functools.cache(apis.get_torchlib_ops))
        yield


@pytest.fixture
def worker_targets(monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes tests/worker_targets/edgeattn_extra importable in worker children; returns the module's name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "worker_targets"), prepend=os.pathsep)
    return "edgeattn.misbehaving"


@pytest.fixture
def manifest() -> bundle.Manifest:
    """A manifest without files."""
    engines = {
        which: bundle.EngineRef(
            runtime="onnxruntime", path=f"engine/{which}", graph=graph, method="fp32", least_cosine=0.9999
        )
        for which, graph in (("efficient", "model.onnx"), ("dense", "dense.onnx"))
    }
    return bundle.Manifest(
        name="tiny",
        description="Two graphs of nothing",
        created_utc="2026-01-01T00:00:00Z",
        recipe={"name": "tiny"},
        plan=[{"layer": 0, "variant": "hedgehog", "options": {}}],
        target={"name": "cpu"},
        inputs=(bundle.TensorSpec(name="input_ids", dtype="int64", dims=("batch", "sequence")),),
        outputs=(bundle.TensorSpec(name="logits", dtype="float32", dims=("batch", 10)),),
        axes={"sequence": bundle.Axis(unit="tokens")},
        length_axis="sequence",
        task=bundle.TaskSpec(
            kind="image-classification",
            metrics=("accuracy",),
            accept_metric="accuracy",
            accept_of_teacher=0.99,
        ),
        bench=bundle.BenchSpec(lengths=None, batch_size=1, pairs=3),
        engines=engines,
        provenance={"teacher": "sha256:" + "0" * 64},
        libraries={"numpy": np.__version__},
        training={"student": {"accuracy": 0.9}},
    )


@pytest.fixture
def small_bundle(tmp_path: Path, manifest: bundle.Manifest) -> Path:
    """A bundle of a few hundred bytes, whose graphs and engines can be opened and not run."""
    import tiny_bundle  # imported here, so that tests without onnx do not need it

    from edgeattn.runtimes import RUNTIMES

    folder = tmp_path / "small_bundle"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for which, graph in (("efficient", "model.onnx"), ("dense", "dense.onnx")):
        (folder / graph).write_bytes(tiny_bundle.small_graph(which))
        RUNTIMES["onnxruntime"].build(folder / graph, folder / "engine" / which, method="fp32")
    np.savez(folder / "samples.npz", **{"input.input_ids": np.arange(6).reshape(2, 3)})
    bundle.write(folder, manifest)
    return folder
