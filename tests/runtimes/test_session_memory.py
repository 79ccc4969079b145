"""What a session says that it keeps in memory."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import runtimes_here
import tiny_bundle
from nvml_driver import OneGpu

from edgeattn.devices.nvml import gpu_bytes
from edgeattn.runtimes import RUNTIMES, arena
from edgeattn.runtimes.arena import held_bytes
from edgeattn.runtimes.base import Memory
from edgeattn.runtimes.buckets import BucketedSession

MB = 1_000_000


def feeds(length):
    return {name: np.ones((1, length), np.int64) for name in ("input_ids", "attention_mask")}


def test_only_what_is_given_back_is_held():
    kept = []
    taken = held_bytes(lambda: kept.append(np.ones(10 * MB // 8)), kept.clear)
    assert taken is not None
    assert 29 * MB < taken < 32 * MB  # of three runs
    assert held_bytes(lambda: None, lambda: None) is None


def test_without_the_means_it_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(arena, "_STATUS", tmp_path / "nothing")
    assert held_bytes(list, list) is None


@pytest.mark.parametrize("name", [name for name in runtimes_here.that_run() if not RUNTIMES[name].compiles])
def test_the_arena_of_a_length_is_not_that_of_a_longer_one_before(tmp_path, name):
    (tmp_path / "dense.onnx").write_bytes(tiny_bundle.graph(dense=True).SerializeToString())
    runtime = RUNTIMES[name]
    runtime.build(tmp_path / "dense.onnx", tmp_path / "engine", method="fp32")
    session = runtime.load(tmp_path, tmp_path / "engine", 1)
    short, long, again = (session.memory(feeds(length)).arena_bytes for length in (512, 2048, 512))
    assert long is not None
    assert long > 3 * (short or 0)
    assert again is None or again < long / 3
    if name == "onnxruntime":
        assert long >= 2 * 2048**2 * 4  # its softmax map and what it is computed from


def test_buckets_say_the_memory_of_the_session_that_runs():
    def sized(size):
        return SimpleNamespace(memory=lambda given: Memory(size * given["x"].shape[1]))

    session = BucketedSession(sized(1), {8: sized(100)}, {"x": 1})
    assert session.memory({"x": np.zeros((1, 5))}) == Memory(800)
    assert session.memory({"x": np.zeros((1, 9))}) == Memory(9)


class Driver(OneGpu):
    """On the GPU, these processes run."""

    def __init__(self, *processes) -> None:
        super().__init__()
        self.processes = [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes]

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        if not self.processes:
            raise self.NVMLError("not supported")
        return self.processes


@pytest.mark.parametrize(
    ("processes", "found"),
    [
        ([(1, 5 * MB), (4711, 300 * MB)], 300 * MB),
        ([(1, 5 * MB)], None),  # a container: the driver knows this process by another number
        ([(4711, None)], None),
        ([], None),  # a Jetson
    ],
)
def test_the_gpu_memory_is_this_process_own(monkeypatch, processes, found):
    monkeypatch.setitem(sys.modules, "pynvml", Driver(*processes))
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert gpu_bytes({}) == found


def test_without_a_driver_the_gpu_memory_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_bytes({}) is None
