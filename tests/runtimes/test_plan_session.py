"""How a session keeps buffers, profiles and CUDA graphs, with stand-ins for CUDA and TensorRT's engine.

The stand-ins have the interface that NVIDIA documents, with the host's memory for the GPU's. They show that the session
uses it as it says, and nothing about a GPU.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from edgeattn.errors import InputError, ToolError
from edgeattn.runtimes.base import DeviceSession, Memory, ShapeRange
from edgeattn.runtimes.tensorrt_family.deserialize import Loaded
from edgeattn.runtimes.tensorrt_family.layers import layer_times
from edgeattn.runtimes.tensorrt_family.session import PlanSession

pytest.importorskip("polygraphy")
RANGES = [{"x": ShapeRange((1, 2), (4, 2), (4, 2))}, {"x": ShapeRange((5, 2), (16, 2), (16, 2))}]
INPUT, OUTPUT = "INPUT", "OUTPUT"


class HostCuda:
    """libcudart, by Polygraphy's wrapper: memory is the host's, work is done at once, or recorded while capturing."""

    def __init__(self):
        self.memory, self.recording, self.graphs, self.launches, self.log = {}, None, {}, 0, []
        self.can_record = True
        self.handle = self

    def check(self, status):
        assert status == 0

    def malloc(self, nbytes):
        block = ctypes.create_string_buffer(nbytes)
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, pointer):
        self.memory.pop(pointer, None)

    def memcpy(self, dst, src, nbytes, kind, stream_ptr=None):
        ctypes.memmove(dst, src, nbytes)

    def create_stream(self):
        return 1

    def destroy_stream(self, pointer):
        pass

    def stream_synchronize(self, pointer):
        pass

    def work(self, job):
        self.log.append("launched" if self.recording is None else "recorded")
        if self.recording is None:
            job()
        else:
            self.recording.append(job)

    # What `edgeattn.runtimes.tensorrt_family.cuda` calls of the library itself; 0 is success.
    def cudaStreamBeginCapture(self, stream, mode):
        self.recording = []
        return 0

    def cudaStreamEndCapture(self, stream, graph):
        jobs, self.recording = self.recording, None
        graph._obj.value = len(self.graphs) + 1 if self.can_record else None
        self.graphs[len(self.graphs) + 1] = jobs
        return 0 if self.can_record else 900

    def cudaGraphInstantiateWithFlags(self, executable, graph, flags):
        executable._obj.value = graph.value
        return 0

    def cudaGraphLaunch(self, executable, stream):
        self.launches += 1
        for job in self.graphs[executable.value]:
            job()
        return 0

    def cudaEventElapsedTime(self, ms, start, end):
        ms._obj.value = 0.25
        return 0

    def __getattr__(self, name):
        if name.startswith("cuda"):
            return lambda *_: 0
        raise AttributeError(name)


class DoublingContext:
    """y = 2 x."""

    def __init__(self, cuda):
        self.cuda, self.addresses, self.shape, self.profile = cuda, {}, None, None
        self.profiler = None

    def set_optimization_profile_async(self, profile, stream):
        self.profile = profile
        return True

    def set_input_shape(self, name, shape):
        most = RANGES[self.profile]["x"]
        self.shape = shape
        return most.least <= shape <= most.most

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        count, given, made = int(np.prod(self.shape)), self.addresses["x"], self.addresses["y"]

        def job():
            x, y = (np.ctypeslib.as_array((ctypes.c_float * count).from_address(place)) for place in (given, made))
            np.multiply(x, 2, out=y)
            if self.profiler is not None:
                self.profiler.report_layer_time("node_b", 0.5)
                self.profiler.report_layer_time("node_a", 0.25)

        self.cuda.work(job)
        return True


@pytest.fixture
def cuda(monkeypatch):
    found = HostCuda()
    monkeypatch.setattr("polygraphy.cuda.cuda.G_CUDA", found)
    return found


@pytest.fixture
def session(cuda):
    contexts = []

    def create_execution_context(strategy):
        assert strategy == "on profile change"
        contexts.append(DoublingContext(cuda))
        return contexts[-1]

    trt = SimpleNamespace(
        TensorIOMode=SimpleNamespace(INPUT=INPUT, OUTPUT=OUTPUT),
        ExecutionContextAllocationStrategy=SimpleNamespace(ON_PROFILE_CHANGE="on profile change"),
        nptype=lambda dtype: np.float32,
        IProfiler=type("IProfiler", (), {}),
    )
    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=lambda place: "xy"[place],
        get_tensor_mode=lambda name: INPUT if name == "x" else OUTPUT,
        get_tensor_dtype=lambda name: "FLOAT",
        device_memory_size=4096,
        create_execution_context=create_execution_context,
    )
    made = PlanSession(Loaded(trt, engine, None, None), RANGES, {"runtime": "tensorrt"})
    made.contexts, made.trt = contexts, trt
    return made


def x(rows, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)


def test_outputs_are_those_of_the_inputs_and_outlive_the_next_inference(session):
    before = [(x(rows, seed), session.run({"x": x(rows, seed)})["y"]) for seed, rows in enumerate((3, 1, 16, 4, 9))]
    for given, found in before:
        np.testing.assert_array_equal(found, 2 * given)


def test_each_profile_has_one_context_and_buffers_stay_where_they_are(session, cuda):
    for rows in (1, 16, 4, 5, 2):
        session.run({"x": x(rows)})
    assert [context.profile for context in session.contexts] == [0, 1]
    first = dict(session.contexts[0].addresses)
    session.run({"x": x(4)})
    assert session.contexts[0].addresses["x"] == first["x"]
    assert len(cuda.memory) == 2  # input and output


def test_a_shape_that_comes_again_becomes_a_cuda_graph_and_another_one_ends_it(session, cuda):
    for seed in range(6):
        given = x(4, seed)
        np.testing.assert_array_equal(session.run({"x": given})["y"], 2 * given)
    assert cuda.log == ["launched"] * 3 + ["recorded"]
    assert cuda.launches == 3
    assert session.describe() == {
        "runtime": "tensorrt",
        "cuda_graphs": True,
        "device_memory_bytes": 4096,
    }
    given = x(2)
    np.testing.assert_array_equal(session.run({"x": given})["y"], 2 * given)
    assert cuda.launches == 3
    assert session.memory({"x": x(4)}) == Memory(arena_bytes=4096)


def test_what_cannot_be_recorded_runs_without(session, cuda):
    cuda.can_record = False
    for seed in range(6):
        given = x(4, seed)
        np.testing.assert_array_equal(session.run({"x": given})["y"], 2 * given)
    assert cuda.log == ["launched"] * 3 + ["recorded"] + ["launched"] * 3
    assert session.describe()["cuda_graphs"] is False


def test_the_time_without_transfers_is_the_gpus_own(session):
    assert isinstance(session, DeviceSession)
    assert session.without_transfers_ns({"x": x(4)}) == 250_000


def test_each_layer_has_the_mean_of_what_tensorrts_profiler_reports(session):
    assert layer_times(session.trt, session, {"x": x(4)}, 3) == {"node_b": 0.5, "node_a": 0.25}


def test_inputs_that_are_not_the_engines_are_refused(session):
    with pytest.raises(ValueError, match=r"inputs \['z'\] are given; the engine has \['x'\]"):
        session.run({"z": x(4)})
    with pytest.raises(InputError, match="fits none of the shapes"):
        session.run({"x": x(17)})


def test_layout_type_and_read_only_inputs_do_not_matter(session):
    given = np.asfortranarray(x(4).astype(np.float64))
    given.flags.writeable = False
    np.testing.assert_array_equal(session.run({"x": given})["y"], (2 * given).astype(np.float32))


def test_an_inference_that_fails_says_so(session):
    session.run({"x": x(4)})
    session.contexts[0].execute_async_v3 = lambda stream: False
    with pytest.raises(ToolError, match="TensorRT could not run the engine"):
        session.run({"x": x(4)})
