"""The NVIDIA GPU of this machine, asked of its driver: no CUDA toolkit and no context on the GPU is needed."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

from edgeattn.errors import DeviceError

_DRIVER = "libcuda.so.1"
# Of CUdevice_attribute.
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18


@dataclass(frozen=True)
class Gpu:
    """A GPU. sm: its compute capability, such as "8.7". integrated: its memory is the processor's, as on a Jetson."""

    name: str
    sm: str
    memory_bytes: int
    integrated: bool


@functools.cache
def gpu_here() -> Gpu | None:
    """The first GPU that CUDA shows this process; None where there is none, or no driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    device, value = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None

    def attribute(number: int) -> int:
        failed = driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return 0 if failed else value.value

    name, size = ctypes.create_string_buffer(128), ctypes.c_size_t()
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    return Gpu(
        name=name.value.decode(errors="replace"),
        sm=f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        memory_bytes=size.value,
        integrated=bool(attribute(_INTEGRATED)),
    )


def require_gpu(what: str) -> Gpu:
    """The GPU of this machine. what: needs it, for the message. Raises DeviceError where there is none."""
    found = gpu_here()
    if found is None:
        raise DeviceError(
            f"{what} needs an NVIDIA GPU, and CUDA's driver shows this process none",
            fix="run it on a machine with one; in a container, start it with --gpus all or --runtime nvidia",
        )
    return found
