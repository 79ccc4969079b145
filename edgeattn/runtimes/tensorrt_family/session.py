"""Runs a plan on the GPU: buffers on the device that stay, one execution context per optimization profile, and CUDA
graphs where a shape comes again.

Written against the documented interface of TensorRT 8.5 to 11 and TensorRT for RTX 1.7; not run on hardware yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeattn.devices.nvml import gpu_bytes
from edgeattn.errors import BundleError, ToolError
from edgeattn.runtimes.base import Arrays, Memory, ShapeRange, ShapeRanges
from edgeattn.runtimes.tensorrt_family.cuda import Capture, Graph, Stopwatch, runtime
from edgeattn.runtimes.tensorrt_family.deserialize import Loaded
from edgeattn.runtimes.tensorrt_family.profiles import Shapes, profile_of

_MEMORY = ("device_memory_size_v2", "device_memory_size")  # of an engine; the first since TensorRT 10.1
# Inferences of one shape, in a row, before it is recorded as a CUDA graph: recording takes as long as some inferences.
_RECORD_AFTER = 3


class PlanSession:
    """A plan on the GPU."""

    def __init__(self, loaded: Loaded, ranges: ShapeRanges, facts: dict[str, Any], *, cuda_graphs: bool = True) -> None:
        """ranges: of the engine's optimization profiles, in their order; empty: its inputs have one size."""
        from polygraphy.cuda import Stream

        runtime()  # raises where CUDA is missing
        trt, engine = loaded.trt, loaded.engine
        self._loaded, self._facts, self._cuda_graphs = loaded, facts, cuda_graphs
        self.stream = Stream()
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        inputs = {name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
        self.inputs = [name for name in names if name in inputs]
        self.outputs = [name for name in names if name not in inputs]
        self._ranges = ranges or [{name: _fixed(engine.get_tensor_shape(name)) for name in self.inputs}]
        # An old TensorRT has no 64-bit integers: its engines take and give 32-bit ones.
        self._dtypes = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        self._buffers: dict[str, Any] = {}
        self._given: Arrays = {}  # the inputs that are on their way to the GPU
        self._contexts: dict[int, Context] = {}
        self._stopwatch = Stopwatch(self.stream)

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name for inputs by name, with the transfers to and from the GPU."""
        context = self._fed(feeds)
        context.start()
        found: Arrays = {}
        for name, shape in context.output_shapes.items():
            found[name] = np.empty(shape, self._dtypes[name])
            self._buffers[name].view(shape, self._dtypes[name]).copy_to(found[name], self.stream)
        self.stream.synchronize()
        return found

    def without_transfers_ns(self, feeds: Arrays) -> int:
        """Nanoseconds of one inference on the GPU, whose inputs are there already and whose outputs stay there."""
        context = self._fed(feeds)
        self._stopwatch.start()
        context.start()
        return self._stopwatch.stop_ns()

    def profile(self, feeds: Arrays, profiler: Any, inferences: int) -> None:
        """Run `inferences` times, and have each layer's time told to TensorRT's `profiler`. Without CUDA graphs."""
        context = self._fed(feeds)
        context.report_to(profiler)
        for _ in range(inferences):
            context.start()
            self.stream.synchronize()

    def describe(self) -> dict[str, Any]:
        """Version, GPU, profiles, whether inferences of one shape become a CUDA graph, and the memory that a context
        takes on the device."""
        graphs = all(context.graphs for context in self._contexts.values())
        return {**self._facts, "cuda_graphs": graphs, "device_memory_bytes": self._context_bytes()}

    def memory(self, feeds: Arrays) -> Memory:
        """What a context takes on the GPU for intermediate results, and what the process has there."""
        self.run(feeds)
        return Memory(self._context_bytes(), gpu_bytes())

    def context_for(self, shapes: Shapes) -> Context:
        """The context of the profile that the shapes fit, set to them."""
        place = profile_of(shapes, self._ranges)
        if place not in self._contexts:
            self._contexts[place] = Context(self._loaded, place, self.stream, cuda_graphs=self._cuda_graphs)
        context = self._contexts[place]
        context.shape(shapes)
        for name in (*self.inputs, *self.outputs):
            shape = shapes[name] if name in shapes else context.output_shapes[name]
            context.place(name, self._buffer(name, shape).ptr)
        return context

    def _context_bytes(self) -> int | None:
        engine = self._loaded.engine
        return next((getattr(engine, name) for name in _MEMORY if hasattr(engine, name)), None)

    def _fed(self, feeds: Arrays) -> Context:
        """The context for these inputs, which are on their way to the GPU."""
        if feeds.keys() != set(self.inputs):
            raise ValueError(f"inputs {sorted(feeds)} are given; the engine has {sorted(self.inputs)}")
        context = self.context_for({name: array.shape for name, array in feeds.items()})
        self._given = {name: np.ascontiguousarray(array, self._dtypes[name]) for name, array in feeds.items()}
        for name, array in self._given.items():
            self._buffers[name].copy_from(array.reshape(-1), self.stream)
        return context

    def _buffer(self, name: str, shape: tuple[int, ...]) -> Any:
        """The tensor's buffer, of the most that any profile needs at once, so that its address stays."""
        from polygraphy.cuda import DeviceArray

        if name not in self._buffers:
            largest = [each[name].most for each in self._ranges if name in each]
            most = max((int(np.prod(each)) for each in largest), default=0)
            self._buffers[name] = DeviceArray((max(most, 1),), self._dtypes[name])
        size = int(np.prod(shape))
        buffer = self._buffers[name]
        if size * self._dtypes[name].itemsize > buffer.allocated_nbytes:  # an output, whose ranges nothing states
            self.stream.synchronize()
        return buffer.resize((size,))


class Context:
    """TensorRT's execution context of one optimization profile."""

    def __init__(self, loaded: Loaded, profile: int, stream: Any, *, cuda_graphs: bool) -> None:
        trt, engine, self._stream = loaded.trt, loaded.engine, stream
        names = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
        # TensorRT for RTX records its own CUDA graphs, around kernels that it compiles as shapes come.
        self._records = cuda_graphs and not hasattr(trt, "CudaGraphStrategy")
        self.graphs = cuda_graphs  # until one cannot be recorded
        self._context = _new_context(trt, engine, cuda_graphs=cuda_graphs)
        if not self._context or not self._context.set_optimization_profile_async(profile, stream.ptr):
            raise ToolError(
                f"TensorRT cannot make a context for the engine's optimization profile {profile}",
                where="the GPU", fix="free memory on the GPU; -v shows TensorRT's own messages",
            )  # fmt: skip
        stream.synchronize()
        self._shapes: Shapes = {}
        self._addresses: dict[str, int] = {}
        self._graph: Graph | None = None
        self._repeated = 0
        self.output_shapes: dict[str, tuple[int, ...]] = {}

    def shape(self, shapes: Shapes) -> None:
        """Set the shapes of the inputs. Raises BundleError where the outputs' depend on more than those."""
        if shapes == self._shapes:
            return
        self._forget()
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, tuple(shape)):
                raise ToolError(f"TensorRT does not take the shape {list(shape)} for {name!r}", where="the engine")
        self._shapes = dict(shapes)
        self.output_shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self._outputs}
        for name, shape in self.output_shapes.items():
            if any(size < 0 for size in shape):
                raise BundleError(
                    f"the output {name!r} has a shape that depends on the data, {list(shape)}",
                    where="the engine",
                    fix="compile a model whose outputs' shapes follow from those of its inputs",
                )

    def place(self, name: str, address: int) -> None:
        """Set where a tensor is on the GPU."""
        if self._addresses.get(name) != address:
            self._forget()
            if not self._context.set_tensor_address(name, address):
                raise ToolError(f"TensorRT does not take a buffer for {name!r}", where="the engine")
            self._addresses[name] = address

    def report_to(self, profiler: Any) -> None:
        """Have each layer's time told to TensorRT's `profiler`, from now on."""
        self._context.profiler = profiler

    def start(self) -> None:
        """Start one inference on the stream."""
        if self._graph is not None:
            self._graph.launch(self._stream)
            return
        self._enqueue()
        self._repeated += 1
        if self._records and self._repeated == _RECORD_AFTER:
            self._record()

    def _record(self) -> None:
        """Record the inference as a CUDA graph. What cannot be recorded goes on as before."""
        self._stream.synchronize()
        with Capture(self._stream) as capture:
            enqueued = self._context.execute_async_v3(self._stream.ptr)
        self._graph = capture.graph if enqueued else None
        self._records = self.graphs = self._graph is not None

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream.ptr):
            raise ToolError(
                "TensorRT could not run the engine",
                where="the GPU",
                fix="-v shows TensorRT's own messages; `edgeattn build` builds the engine again",
            )

    def _forget(self) -> None:
        """A recorded graph is of the shapes and addresses that it was recorded with."""
        self._repeated = 0
        if self._graph is not None:
            self._stream.synchronize()
            self._graph.free()
            self._graph = None


def _fixed(shape: Any) -> ShapeRange:
    sizes = tuple(shape)
    return ShapeRange(sizes, sizes, sizes)


def _new_context(trt: Any, engine: Any, *, cuda_graphs: bool) -> Any:
    """An execution context with memory for its own profile alone, and the library's own CUDA graphs if it has them."""
    strategies: Any = getattr(trt, "ExecutionContextAllocationStrategy", None)
    if not hasattr(trt, "CudaGraphStrategy"):
        strategy = getattr(strategies, "ON_PROFILE_CHANGE", None)
        return engine.create_execution_context(*([] if strategy is None else [strategy]))
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(strategies.ON_PROFILE_CHANGE)
    graphs = trt.CudaGraphStrategy
    config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if cuda_graphs else graphs.DISABLED
    # Compile what a shape needs before its first result, not beside the inferences that are timed.
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    return engine.create_execution_context(runtime_config=config)
