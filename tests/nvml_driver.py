"""A stand-in for `pynvml`, NVIDIA's package: a machine with one GPU. Tests add what they ask of it."""

from __future__ import annotations

from types import ModuleType


class NVMLError(Exception):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


class OneGpu(ModuleType):
    NVMLError = NVMLError
    NVMLError_LibraryNotFound = NVMLError_LibraryNotFound

    def __init__(self) -> None:
        super().__init__("pynvml")

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return index
