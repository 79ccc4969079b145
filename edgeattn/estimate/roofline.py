"""The roofline: a kernel takes as long as its operations or its bytes, whichever is longer.

Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009. Starting the kernel is added. Where operations do not
hide the bytes, as on a CPU core that waits for its loads, so are the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeattn.estimate.fuse import Kernel
from edgeattn.estimate.rates import Rates


@dataclass(frozen=True)
class Time:
    """Seconds of a graph. ops_s, bytes_s: of its operations and of its bytes, each as if there were nothing else.

    start_s: of starting its kernels.
    """

    seconds: float
    ops_s: float
    bytes_s: float
    start_s: float


def computable(kernels: Iterable[Kernel], rates: Rates) -> bool:
    """Whether the machine has a rate for all that the kernels do."""
    return all(key in rates.ops_per_s for kernel in kernels for key, ops in kernel.ops.items() if ops)


def time(kernels: Iterable[Kernel], rates: Rates, *, extra_starts: int = 0) -> Time:
    """The time of the kernels one after another. extra_starts: nodes that take no longer than their start."""
    whole = ops_s = bytes_s = 0.0
    started = extra_starts
    kernels = list(kernels)
    # Between two readings of a weight lie those of all others: it comes from where they all fit.
    weights_per_s = rates.bytes_per_s(max(sum(kernel.weight_bytes for kernel in kernels), 1))
    for kernel in kernels:
        working, moving = parts(kernel, rates, weights_per_s)
        whole += max(working, moving) if rates.overlaps else working + moving
        ops_s, bytes_s, started = ops_s + working, bytes_s + moving, started + 1
    start_s = started * rates.kernel_s
    return Time(whole + start_s, ops_s, bytes_s, start_s)


def parts(kernel: Kernel, rates: Rates, weights_per_s: float) -> tuple[float, float]:
    """Seconds of a kernel's operations, and of its bytes. weights_per_s: bytes of weights that are read in a second."""
    working = sum(ops / rates.ops_per_s[key] for key, ops in kernel.ops.items() if ops)
    others = kernel.bytes - kernel.weight_bytes
    return working, kernel.weight_bytes / weights_per_s + others / rates.bytes_per_s(max(kernel.bytes, 1))
