"""NVIDIA's two libraries: which Python module each is, and how to get it.

They have the same interface. What one of their versions lacks is found out by asking its module, never by its name.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from edgeattn.devices.root import system_root
from edgeattn.errors import DeviceError
from edgeattn.runtimes.tensorrt_family.missing import how_to_get_tensorrt
from edgeattn.versions import installed_version, library_version

POLYGRAPHY = "polygraphy"
_SWITCH = "POLYGRAPHY_USE_TENSORRT_RTX"  # Polygraphy reads it when it is imported


@dataclass(frozen=True)
class Library:
    """One of the two. name: of its Python module, and of the runtime. extra: of edgeattn, that installs it."""

    name: str
    title: str
    extra: str

    def version(self) -> str | None:
        """The installed version; None where it is not installed. It is only imported if it has no metadata."""
        return library_version(self.name)

    def require(self) -> str:
        """Import the module; returns its version. Raises DeviceError where it or Polygraphy is missing."""
        version = self.version()
        if version is None:
            raise DeviceError(f"{self.title} is not installed: no Python module {self.name}", fix=self.remedy())
        if installed_version(POLYGRAPHY) is None:
            fact = f"{self.title} {version} is installed, Polygraphy, which drives it, is not"
            raise DeviceError(fact, fix="pip install polygraphy")
        self.module()
        return version

    def module(self) -> Any:
        """The Python module. Raises DeviceError where it cannot be imported."""
        try:
            return importlib.import_module(self.name)
        except ImportError as error:
            python = ".".join(map(str, sys.version_info[:2]))
            fact = f"{self.name} {self.version()} cannot be imported in Python {python}: {error}"
            raise DeviceError(fact, fix=self.remedy()) from error

    def builds_for(self, sm: str) -> bool:
        """Whether it builds for GPUs of this compute capability, such as "8.6".

        TensorRT builds for the GPU that is there; the list in its module, where there is one, is that of the other.
        """
        return self is not RTX or hasattr(self.module().ComputeCapability, f"SM{sm.replace('.', '')}")

    def remedy(self) -> str:
        """How to get the module on this machine."""
        return how_to_get_tensorrt(system_root()) if self is TENSORRT else f"pip install 'edgeattn[{self.extra}]'"

    def select(self) -> None:
        """Have Polygraphy use this library. In a process of its own, before Polygraphy is imported."""
        wanted = "1" if self is RTX else "0"
        if POLYGRAPHY in sys.modules and os.environ.get(_SWITCH, "0") != wanted:
            raise RuntimeError("Polygraphy was imported for the other library; use another process")
        os.environ[_SWITCH] = wanted


TENSORRT = Library(name="tensorrt", title="TensorRT", extra="tensorrt")
RTX = Library(name="tensorrt_rtx", title="TensorRT for RTX", extra="rtx")
LIBRARIES = {library.name: library for library in (TENSORRT, RTX)}
