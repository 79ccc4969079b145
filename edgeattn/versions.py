"""The installed version of a package, from metadata alone: nothing is imported.

It needs only the standard library, so that `edgeattn doctor` works where the device half is incomplete.
"""

from __future__ import annotations

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
