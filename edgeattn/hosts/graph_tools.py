"""Command lines of NVIDIA's own tools for the graphs of a bundle: trtexec builds and times one, polygraphy compares it.

They are typed in the folder that holds the bundle.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.version import Version

from edgeattn.devices.profile import Release
from edgeattn.manifest import Candidate, Interface
from edgeattn.runtimes.base import ShapeRange

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"  # of JetPack and of NVIDIA's Debian packages
# As `edgeattn bench` times. TensorRT 11's trtexec does so by default, earlier ones where told to.
_TIMED_ALIKE = ("--useCudaGraph", "--noDataTransfers", "--useSpinWait")
_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Typing:
    """How some versions of TensorRT are told in which types to compute.

    start, end: from this version on, up to but not including that one.
    by_method: with a flag for each type of the graph's method. strongly: with the flag for the graph's own types, which
    is neither needed nor known where types are always the graph's.
    """

    heading: str
    start: Version
    end: Version
    by_method: bool = False
    strongly: bool = False
    timed: tuple[str, ...] = _TIMED_ALIKE

    def flags(self, method: str, strongly: str) -> tuple[str, ...]:
        """The flags for a graph that was quantized by `method`. strongly: the tool's flag for strong typing."""
        if self.by_method:
            return tuple(f"--{part}" for part in method.split("-") if part in ("fp16", "int8"))
        return (strongly,) if self.strongly else ()

    def releases(self, software: Sequence[Release]) -> list[Release]:
        """Those whose TensorRT is one of these versions."""
        return [each for each in software if self.start <= Version(each.tensorrt) < self.end]


# Flags by type are deprecated from 10.12 on and gone in 11: NVIDIA, "Migrating trtexec Usage from TensorRT 10.x to
# 11.x".
TYPINGS = (
    Typing("TensorRT before 10.12", Version("8.5"), Version("10.12"), by_method=True),
    Typing("TensorRT 10.12 to 10.16", Version("10.12"), Version("11"), strongly=True),
    Typing("TensorRT 11", Version("11"), Version("12"), timed=()),
)


def trtexec(
    bundle: str,
    candidate: Candidate,
    ranges: Mapping[str, ShapeRange],
    interface: Interface,
    typing: Typing,
    workspace_bytes: int | None,
) -> str:
    """Builds the engine of a candidate's graph, and times it at the usual shapes.

    bundle: the name of its folder. ranges: input -> shapes. workspace_bytes: a limit, None for TensorRT's own.
    """
    # A model without a free dimension takes no shapes: "Static model does not take explicit shapes".
    free = {spec.name: ranges[spec.name] for spec in interface.inputs if any(isinstance(dim, str) for dim in spec.dims)}
    shapes = {
        "--minShapes": {name: each.least for name, each in free.items()},
        "--optShapes": {name: each.usual for name, each in free.items()},
        "--maxShapes": {name: each.most for name, each in free.items()},
    }
    pool = () if workspace_bytes is None else (f"--memPoolSize=workspace:{workspace_bytes // _MEBIBYTE}",)
    return shlex.join(
        [
            TRTEXEC,
            f"--onnx={graph_of(bundle, candidate)}",
            f"--saveEngine={candidate.folder.rpartition('/')[2]}.plan",
            *(f"{option}={_trtexec_shapes(each)}" for option, each in shapes.items() if each),
            *typing.flags(candidate.method, "--stronglyTyped"),
            *pool,
            *typing.timed,
        ]
    )


def polygraphy(
    program: str,
    bundle: str,
    candidate: Candidate,
    ranges: Mapping[str, ShapeRange],
    typing: Typing,
    workspace_bytes: int | None,
    inputs: str,
) -> str:
    """Compares a candidate's graph in TensorRT with the same graph in ONNX Runtime.

    inputs: a file that `polygraphy_inputs` has written.
    """
    shapes = {
        "--trt-min-shapes": {name: each.least for name, each in ranges.items()},
        "--trt-opt-shapes": {name: each.usual for name, each in ranges.items()},
        "--trt-max-shapes": {name: each.most for name, each in ranges.items()},
    }
    words = [program, "run", graph_of(bundle, candidate), "--trt", "--onnxrt", "--load-inputs", inputs]
    for option, each in shapes.items():
        words += [option, *(f"{name}:[{','.join(map(str, shape))}]" for name, shape in each.items())]
    words += typing.flags(candidate.method, "--strongly-typed")
    words += [] if workspace_bytes is None else ["--pool-limit", f"workspace:{workspace_bytes}"]
    words += ["--compare", "cosine_similarity", "--cosine-similarity-threshold", f"{candidate.least_cosine:g}"]
    return shlex.join(words)


def polygraphy_inputs(python: str, bundle: str, interface: Interface, inputs: str) -> str:
    """Writes the first golden sample in polygraphy's own format into the file `inputs`."""
    first, names = interface.inputs[0].dims[0], json.dumps([spec.name for spec in interface.inputs])
    sample = f'{{name: found["input." + name][:{first if isinstance(first, int) else 1}] for name in {names}}}'
    program = (
        "import numpy; from polygraphy.json import save_json; "
        f"found = numpy.load({json.dumps(f'{bundle}/samples.npz')}); save_json([{sample}], {json.dumps(inputs)})"
    )
    return shlex.join([python, "-c", program])


def graph_of(bundle: str, candidate: Candidate) -> str:
    """The path of a candidate's graph, from the folder that holds the bundle."""
    return f"{bundle}/{candidate.folder}/{candidate.graph}"


def _trtexec_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """As `ids:1x128,mask:1x128`; a name with a colon stands in quotes."""
    quoted = {f"'{name}'" if ":" in name else name: shape for name, shape in shapes.items()}
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in quoted.items())
