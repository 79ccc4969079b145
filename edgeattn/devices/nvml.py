"""NVIDIA's own Python package for its driver (nvidia-ml-py, module `pynvml`), and the GPU that CUDA takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


class NoNvml(Exception):
    """Why NVML tells nothing here; the text is shown to the user."""


def library() -> Any:
    """`pynvml`, initialised. Raises NoNvml where the package or the driver is missing."""
    try:
        import pynvml
    except ImportError:
        raise NoNvml("NVML's Python package is missing: pip install 'edgeattn[nvml]'") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        raise NoNvml(
            "no NVIDIA driver here: libnvidia-ml.so.1 is not found (a container sees it with --gpus all)"
        ) from None
    except pynvml.NVMLError as cause:
        raise NoNvml(f"NVML: {cause}") from None
    return pynvml


def gpu_of(nvml: Any, environment: Mapping[str, str]) -> Any:
    """The handle of the first GPU that CUDA_VISIBLE_DEVICES names, or of the only one.

    Raises NoNvml where it is not known which one CUDA takes, and pynvml's own errors.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    count = nvml.nvmlDeviceGetCount()
    if visible.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(visible)
    if count == 1:
        return nvml.nvmlDeviceGetHandleByIndex(0)
    # CUDA counts the fastest GPU first, NVML by bus, unless CUDA is told to do so too.
    if visible.isdecimal() and environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return nvml.nvmlDeviceGetHandleByIndex(int(visible))
    raise NoNvml(
        f"{count} GPUs, and it is not known which one CUDA takes: name it by its UUID in CUDA_VISIBLE_DEVICES "
        "(nvidia-smi -L lists them)"
    )


def gpu_bytes(environment: Mapping[str, str] = os.environ) -> int | None:
    """Bytes that this process has on the GPU.

    None where the driver does not tell: without one, on a Jetson, and in a container, where it knows the process by
    another number.
    """
    try:
        nvml = library()
    except NoNvml:
        return None
    try:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(gpu_of(nvml, environment))
    except (NoNvml, nvml.NVMLError):
        return None
    return next((each.usedGpuMemory for each in processes if each.pid == os.getpid()), None)
