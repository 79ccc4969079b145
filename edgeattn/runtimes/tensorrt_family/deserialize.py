"""Loads a plan: machine code, so never one whose digest is not the bundle's."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from edgeattn.errors import BundleError
from edgeattn.jsonfile import COPY_AGAIN
from edgeattn.runtimes.tensorrt_family.library import Library

LOG = logging.getLogger("edgeattn")


@dataclass(frozen=True)
class Loaded:
    """An engine of the module `trt`. runtime, logger: which TensorRT needs for as long as the engine lives."""

    trt: Any
    engine: Any
    runtime: Any
    logger: Any


def deserialize(library: Library, content: Any, where: str) -> Loaded:
    """The engine of a plan. where: for messages. Raises BundleError, with TensorRT's own reason."""
    trt = library.module()

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(msg)
            LOG.debug("%s: %s", library.name, msg)

    logger = Logger()
    trt.init_libnvinfer_plugins(logger, "")
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        reason = logger.errors[0] if logger.errors else "it gives no reason"
        raise BundleError(f"{library.title} cannot load the plan: {reason}", where=where, fix=COPY_AGAIN)
    return Loaded(trt, engine, runtime, logger)
