"""What a device's Python says of itself before edgeattn is there: run by `PYTHON - FOLDER`, so by any version of it.

Makes edgeattn's folder, for this account only, and prints one JSON document. It is written for Python 3.6, so that an
old one says its version and not a SyntaxError.
"""

import importlib.util
import json
import platform
import shutil
import sys
import sysconfig
from pathlib import Path


def main() -> None:
    folder = Path(sys.argv[1] or "~/.cache/edgeattn/hosts").expanduser().absolute()
    problem = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / "written").touch()
        (folder / "written").unlink()
    except OSError as error:
        problem = error.strerror or str(error)
    facts = {
        "python": list(sys.version_info[:3]),
        "has_venv": has("venv") and (has("ensurepip") or has("pip")),
        "has_pip": has("pip"),
        "has_tensorrt": has("tensorrt"),
        # Packages of a virtual environment, which venv's --system-site-packages would leave out.
        "packages": sysconfig.get_path("purelib") if sys.prefix != sys.base_prefix else None,
        "machine": platform.machine(),
        "glibc": platform.libc_ver()[1],
        "folder": str(folder),
        "problem": problem,
        "free_bytes": None if problem else shutil.disk_usage(str(folder)).free,
    }
    sys.stdout.write(json.dumps(facts) + "\n")


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    main()
