"""fp32: the graph as it was exported."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeattn.bench.inputs import Arrays
from edgeattn.devices.profile import CpuFacts
from edgeattn.quantize.method import Method
from edgeattn.quantize.weights import weights_of
from edgeattn.validation import Part


class Fp32(Method):
    """A copy of the graph."""

    name = "fp32"
    fused = True
    least_cosine = 0.9999  # only the order of sums differs

    @classmethod
    def quantize(
        cls, graph: Path, out: Path, *, cpu: CpuFacts | None, calibration: Sequence[Arrays], options: Part
    ) -> dict[str, Any]:
        import onnx

        shutil.copyfile(weights_of(graph), weights_of(out))
        model = onnx.load(graph, load_external_data=False)
        for weight in model.graph.initializer:
            for entry in weight.external_data:
                if entry.key == "location":
                    entry.value = weights_of(out).name
        onnx.save(model, out)
        return {}
