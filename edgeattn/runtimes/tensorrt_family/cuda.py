"""What a session needs of CUDA's runtime beside Polygraphy's streams and buffers: graphs and events.

Not run on hardware yet. Polygraphy loads libcudart; every call's status is checked by it.
"""

from __future__ import annotations

import ctypes
from typing import Any

from edgeattn.errors import DeviceError

_RELAXED = 2  # cudaStreamCaptureModeRelaxed: other threads of the process may call CUDA meanwhile


def runtime() -> Any:
    """Polygraphy's wrapper of libcudart. Raises DeviceError where there is none."""
    from polygraphy import cuda
    from polygraphy.exception import PolygraphyException

    try:
        return cuda.wrapper()
    except (OSError, PolygraphyException) as error:
        raise DeviceError(
            f"CUDA's runtime library cannot be loaded: {error}",
            fix="on a Jetson: sudo apt install cuda-cudart; elsewhere: pip install nvidia-cuda-runtime-cu13 "
            "(or -cu12), or set LD_LIBRARY_PATH to the folder that has libcudart.so",
        ) from error


class Graph:
    """Work on a stream, recorded once and launched as one."""

    def __init__(self, executable: ctypes.c_void_p) -> None:
        self._executable = executable

    def launch(self, stream: Any) -> None:
        """Start the work on a stream of Polygraphy."""
        cuda = runtime()
        cuda.check(cuda.handle.cudaGraphLaunch(self._executable, ctypes.c_void_p(stream.ptr)))

    def free(self) -> None:
        """Free what CUDA holds of it."""
        runtime().handle.cudaGraphExecDestroy(self._executable)


class Capture:
    """Records what is started on a stream while the context lasts. graph: after it; None where it could not be."""

    def __init__(self, stream: Any) -> None:
        self._stream = ctypes.c_void_p(stream.ptr)
        self.graph: Graph | None = None

    def __enter__(self) -> Capture:
        cuda = runtime()
        cuda.check(cuda.handle.cudaStreamBeginCapture(self._stream, _RELAXED))
        return self

    def __exit__(self, *error: object) -> None:
        handle = runtime().handle
        recorded, executable = ctypes.c_void_p(), ctypes.c_void_p()
        ended = handle.cudaStreamEndCapture(self._stream, ctypes.byref(recorded))
        if error[0] is None and not ended and recorded.value:
            # Since CUDA 11.4. cudaGraphInstantiate has other parameters in CUDA 11 than in 12.
            flags = ctypes.c_ulonglong(0)
            if not handle.cudaGraphInstantiateWithFlags(ctypes.byref(executable), recorded, flags):
                self.graph = Graph(executable)
        if recorded.value:
            handle.cudaGraphDestroy(recorded)
        if self.graph is None:
            handle.cudaGetLastError()  # what could not be recorded is no error of the next call


class Stopwatch:
    """Times work on a stream on the GPU itself."""

    def __init__(self, stream: Any) -> None:
        self._cuda, self._stream = runtime(), ctypes.c_void_p(stream.ptr)
        self._start, self._end = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (self._start, self._end):
            self._cuda.check(self._cuda.handle.cudaEventCreate(ctypes.byref(event)))

    def start(self) -> None:
        """Begin, behind what was started on the stream before."""
        self._cuda.check(self._cuda.handle.cudaEventRecord(self._start, self._stream))

    def stop_ns(self) -> int:
        """Wait for what was started since, and return its nanoseconds on the GPU."""
        self._cuda.check(self._cuda.handle.cudaEventRecord(self._end, self._stream))
        self._cuda.check(self._cuda.handle.cudaEventSynchronize(self._end))
        found = ctypes.c_float()  # milliseconds
        self._cuda.check(self._cuda.handle.cudaEventElapsedTime(ctypes.byref(found), self._start, self._end))
        return round(found.value * 1e6)
