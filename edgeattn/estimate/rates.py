"""What the kernels of a machine reach: from a profile's peaks by factors, the same for all graphs of a kind of device.

Each factor has its origin beside it; none was fitted to a model. A machine that is at hand is measured instead: see
`calibrate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from edgeattn.devices import DeviceProfile
from edgeattn.devices.profile import Peaks, PowerMode
from edgeattn.errors import InputError
from edgeattn.estimate.count import Kind
from edgeattn.quantize.arithmetic import Precision

# Half of the dense peak, in products. An Orin Nano's FP16 products of 1024 to 10240 rows reach 7.1 to 10.2 of 16.7
# Tflop/s, 0.42 to 0.61 (zzc0721/torch-performance-test-data#110, whose BF16 figure excludes a lower clock).
_GPU_PRODUCTS = 0.5
# Of the datasheet's bandwidth (research notes on Jetson boards, a secondary source).
_GPU_BANDWIDTH = 0.72
# GPU cycles that a kernel takes however little it does: to launch, fill and drain. MobileNetV3-small, about 73 kernels
# with hardly any work, takes 0.594 ms on AGX Orin at 1300 MHz and 1.336 ms on Orin Nano at 625 MHz: 9,800 and 10,200
# cycles a kernel beyond its bytes (Nota-NetsPresso/netspresso-trainer, docs/benchmarks/device_compat_matrix).
_GPU_KERNEL_CYCLES = 10_000
# On a GPU, exponentials go through a unit with a quarter of the width, and take some products around it.
_GPU_TRANSCENDENTAL = 0.1

# What the probes of `calibrate` give in ONNX Runtime 1.32 on one core of an AMD EPYC of family 26 with AVX-512, where
# products are taken to reach 0.9 of the peak; depthwise convolutions are not measured.
_CPU_SHARES: Mapping[Kind, float] = {
    "product": 0.9,
    "attention": 0.5,
    "depthwise": 0.1,
    "softmax": 0.2,
    "norm": 0.1,
    "reduction": 0.05,
    "transcendental": 0.006,
    "elementwise": 0.1,
    "copy": 0.02,
}
# A copy reaches 5.5 to 6.1 of a Raspberry Pi 5's 17.1 GB/s and 10 to 11.6 of an N100's 38.4, and moves each byte twice:
# 0.52 to 0.71 (raspberrypi/firmware#1876, ThomasKaiser/sbc-bench#65).
_CPU_BANDWIDTH = 0.6
_CPU_KERNEL_S = 3e-6  # ONNX Runtime's call of a node, measured as above


@dataclass(frozen=True)
class Rates:
    """What kernels reach.

    ops_per_s: by kind and precision. bandwidth: (bytes that a kernel moves, bytes/s), ascending: small kernels find
    their data in caches. kernel_s: what each kernel costs beside its work.
    overlaps: whether operations hide the bytes that are moved meanwhile (a GPU's many threads), or wait for them.
    mode: the power mode, None for a machine without. watts: of the mode. basis: where the rates come from.
    """

    ops_per_s: Mapping[tuple[Kind, Precision], float]
    bandwidth: Sequence[tuple[float, float]]
    kernel_s: float
    overlaps: bool
    basis: str
    mode: str | None = None
    watts: float | None = None

    def bytes_per_s(self, moved: float) -> float:
        """The bandwidth of a kernel that moves so many bytes, interpolated over their logarithm."""
        below = [point for point in self.bandwidth if point[0] <= moved]
        above = [point for point in self.bandwidth if point[0] > moved]
        if not below or not above:
            return (below[-1] if below else above[0])[1]
        (low, slow), (high, fast) = below[-1], above[0]
        share = math.log(moved / low) / math.log(high / low)
        return float(slow * (fast / slow) ** share)


def profile_rates(profile: DeviceProfile) -> list[Rates]:
    """The rates of a device by its profile's peaks, one for each power mode whose clocks are known.

    Without such a mode, those of the profile's own peaks, which are at the highest clocks. Raises InputError for a
    profile without the facts that it takes, and names the first.
    """
    modes: Sequence[PowerMode | None] = [mode for mode in profile.power_modes if _known(mode.peaks)] or [None]
    return [_of_gpu(profile, mode) if profile.gpu else _of_cpu(profile, mode) for mode in modes]


def peak_rates(profile: DeviceProfile, power_mode: str | None = None) -> Rates:
    """The peaks of a device's profile as they stand: what no kernel can exceed, in a power mode.

    power_mode: its default one where it has none of that name. Raises InputError for a profile without the facts.
    """
    modes = {mode.name: mode for mode in profile.power_modes if _known(mode.peaks)}
    default = next((mode for mode in modes.values() if mode.default), None)
    mode = modes.get(power_mode or "", default)
    peaks, bandwidth = _facts(profile, mode)
    known, ops = _known(peaks), dict[tuple[Kind, Precision], float]()
    # Other kernels do not use the units that the shorter precisions' peaks are of.
    others = known.get("fp32") or math.inf
    for kind in get_args(Kind):
        products = kind in ("product", "attention")
        for precision in get_args(Precision):
            peak = known.get("int8" if precision == "uint8" else precision) if products else others
            if peak is not None:
                ops[kind, precision] = peak
    named = ", ".join(f"{peak / 1e12:g} in {precision}" for precision, peak in known.items())
    return Rates(
        ops_per_s=ops,
        bandwidth=[(1.0, bandwidth * 1e9)],
        kernel_s=0.0,
        overlaps=True,
        basis=f"{profile.name}'s dense peaks of {named} Tops/s and its memory's {bandwidth:g} GB/s"
        + (f" in the power mode {mode.name}" if mode else ""),
        mode=mode.name if mode else None,
    )


def _of_gpu(profile: DeviceProfile, mode: PowerMode | None) -> Rates:
    peaks, bandwidth = _facts(profile, mode)
    mhz = mode.gpu_mhz if mode and mode.gpu_mhz else profile.gpu.max_mhz if profile.gpu else None
    if mhz is None:
        raise _missing(profile, "gpu.max_mhz")
    ops: dict[tuple[Kind, Precision], float] = {}
    for precision, peak in _known(peaks).items():
        ops["product", precision] = ops["attention", precision] = _GPU_PRODUCTS * peak
    for precision in ("fp32", "fp16"):  # outside the matrix units, both at the rate of fp32
        for kind in ("depthwise", "softmax", "norm", "reduction", "elementwise", "copy"):
            ops[kind, precision] = _GPU_PRODUCTS * (peaks.fp32 or math.inf) * 1e12  # type: ignore[index]
        ops["transcendental", precision] = _GPU_TRANSCENDENTAL * (peaks.fp32 or math.inf) * 1e12  # type: ignore[index]
    return Rates(
        ops_per_s=ops,
        bandwidth=[(1.0, _GPU_BANDWIDTH * bandwidth * 1e9)],
        kernel_s=_GPU_KERNEL_CYCLES / (mhz * 1e6),
        overlaps=True,
        basis=(
            f"products reach {_GPU_PRODUCTS:.0%} of the profile's dense peaks and memory {_GPU_BANDWIDTH:.0%} of its "
            f"bandwidth; each kernel takes {_GPU_KERNEL_CYCLES:,} GPU cycles beside its work"
        ),
        mode=mode.name if mode else None,
        watts=mode.watts if mode else None,
    )


def _of_cpu(profile: DeviceProfile, mode: PowerMode | None) -> Rates:
    peaks, bandwidth = _facts(profile, mode)
    if peaks.fp32 is None:
        raise _missing(profile, "peaks.fp32")
    ops: dict[tuple[Kind, Precision], float] = {
        (kind, precision): share * peaks.fp32 * 1e12
        for kind, share in _CPU_SHARES.items()
        for precision in ("fp32", "fp16")
    }  # type: ignore[assignment]
    if peaks.int8 is not None:
        ops["product", "int8"] = ops["product", "uint8"] = _CPU_SHARES["product"] * peaks.int8 * 1e12
    return Rates(
        ops_per_s=ops,
        bandwidth=[(1.0, _CPU_BANDWIDTH * bandwidth * 1e9)],
        kernel_s=_CPU_KERNEL_S,
        overlaps=False,
        basis=(
            f"products reach {_CPU_SHARES['product']:.0%} of the profile's peaks and memory {_CPU_BANDWIDTH:.0%} of "
            "its bandwidth; other operators the shares that were measured on another processor"
        ),
        mode=mode.name if mode else None,
        watts=mode.watts if mode else None,
    )


def _facts(profile: DeviceProfile, mode: PowerMode | None) -> tuple[Peaks, float]:
    """The peaks and the bandwidth in a power mode."""
    peaks = mode.peaks if mode else profile.peaks
    if not _known(peaks):
        raise _missing(profile, "peaks")
    bandwidth = mode.bandwidth_gb_per_s if mode and mode.bandwidth_gb_per_s else profile.bandwidth_gb_per_s
    if bandwidth is None:
        raise _missing(profile, "bandwidth_gb_per_s")
    return peaks, bandwidth


def _known(peaks: Peaks) -> dict[Precision, float]:
    """Operations a second by precision."""
    found: dict[Precision, float | None] = {"fp32": peaks.fp32, "fp16": peaks.fp16, "int8": peaks.int8}
    return {precision: peak * 1e12 for precision, peak in found.items() if peak is not None}


def _missing(profile: DeviceProfile, fact: str) -> InputError:
    return InputError(
        f"the profile of {profile.name} has no {fact}, which an estimate needs",
        where=profile.name,
        fix=f"give a profile with `extends: {profile.name}` and {fact}: --target ./board.yaml",
    )
