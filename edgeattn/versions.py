"""The installed version of a package, from its metadata: only `library_version` imports one that has none.

It needs only the standard library, so that `edgeattn doctor` works where the device half is incomplete.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util

UNKNOWN = "unknown"

# Packages whose module has another name.
_MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn"}


def installed_version(package: str) -> str | None:
    """The version of a package, or of the one that provides its module, such as onnxruntime-gpu for onnxruntime.

    None where it is not installed, UNKNOWN where its module can be imported but has no metadata.
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pass
    module = _MODULES.get(package.lower(), package.replace("-", "_"))
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # a folder of that name is not a package
        return None
    providers = importlib.metadata.packages_distributions().get(module)
    return importlib.metadata.version(providers[0]) if providers else UNKNOWN


def library_version(module: str) -> str | None:
    """The installed version of the package of a module, which is only imported if it has no metadata; None where it is
    not installed."""
    found = installed_version(module)
    return str(importlib.import_module(module).__version__) if found == UNKNOWN else found
