"""The pre-flight's builds by TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

import contextlib
import threading

import onnx
import psutil
import pytest
import tiny_bundle
import trt_graphs

from edgeattn.errors import DeviceError, ResourceError
from edgeattn.runtimes.tensorrt_family.try_build import try_build

pytest.importorskip("tensorrt_rtx")


def tried(tmp_path, graph, **options):
    onnx.save(graph, tmp_path / "model.onnx")
    return try_build(tmp_path / "model.onnx", **{"sm": "8.7", "shapes": trt_graphs.rows(8), **options})


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_a_graph_of_every_method_passes(tmp_path, kind):
    found = tried(tmp_path, getattr(trt_graphs, kind)())
    assert found["passed"], found["problems"]
    assert found["tensorrt_rtx"].startswith("1.")
    assert (found["sm"], found["built_for"]) == ("8.7", "8.6")
    assert found["layers"] > 2
    assert found["engine_bytes"] > 10_000
    assert 0 < found["seconds"] < 60


def test_a_model_with_several_ranges_of_lengths_passes(tmp_path):
    found = tried(tmp_path, tiny_bundle.graph(dense=True), shapes=trt_graphs.lengths(16, 64, 128))
    assert found["passed"], found["problems"]


def test_an_operator_that_is_not_supported_is_named_with_its_node(tmp_path):
    found = tried(tmp_path, trt_graphs.refused())
    assert (found["passed"], found["seconds"], found["engine_bytes"], found["layers"]) == (False, None, None, None)
    (problem,) = found["problems"]
    assert (problem["node"], problem["operator"]) == ("layer.0/quantize", "DynamicQuantizeLinear")
    assert problem["reason"].startswith("is not supported (UNSUPPORTED_NODE")


def test_types_that_do_not_fit_are_refused(tmp_path):
    found = tried(tmp_path, trt_graphs.mixed_types())
    assert not found["passed"]
    assert "residual" in str(found["problems"])


def test_a_file_that_is_not_there_is_named(tmp_path):
    found = try_build(tmp_path / "gone.onnx", sm="8.6", shapes=())
    assert "gone.onnx" in found["problems"][0]["reason"]


def test_a_gpu_that_nothing_stands_in_for_is_refused_with_those_that_work(tmp_path):
    with pytest.raises(DeviceError, match=r"no GPU of compute capability 5\.3") as raised:
        tried(tmp_path, trt_graphs.fp16(), sm="5.3")
    assert "8.6" in raised.value.fix


def test_a_build_that_takes_too_long_ends(tmp_path):
    with pytest.raises(
        ResourceError, match=r"TensorRT for RTX, model\.onnx: took longer than its time limit of 0\.2 s"
    ):
        tried(tmp_path, trt_graphs.fp16(), timeout_s=0.2)


def test_a_build_that_is_killed_for_memory_is_told_apart(tmp_path, killed):
    with pytest.raises(ResourceError, match=r"was killed \(SIGKILL\), as the kernel does when memory runs out"):
        tried(tmp_path, tiny_bundle.graph(dense=True), shapes=trt_graphs.lengths(*range(8, 512, 8)))


@pytest.fixture
def killed():
    """Kills this process's worker once it has TensorRT for RTX in memory."""
    own, done = psutil.Process(), threading.Event()

    def kill():
        while not done.wait(0.01):
            for child in own.children():
                with contextlib.suppress(psutil.Error):
                    if any("tensorrt" in mapped.path for mapped in child.memory_maps()):
                        child.kill()
                        return

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    done.set()
    thread.join()
