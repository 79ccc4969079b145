"""This edgeattn as a wheel, made from its own files: the same in a checkout and where it is installed.

Neither a build backend nor an index is needed. The same files give the same bytes, so the digest of the wheel says
whether a device has this edgeattn.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import edgeattn
from edgeattn.errors import DeviceError
from edgeattn.shipped import shipped

_WHEEL = "Wheel-Version: 1.0\nGenerator: edgeattn\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_ENTRY_POINTS = "[console_scripts]\nedgeattn = edgeattn.cli.main:main\n"


@dataclass(frozen=True)
class Wheel:
    """A wheel of edgeattn. digest: "sha256:<hex>" of its bytes."""

    name: str
    content: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"


def own_wheel() -> Wheel:
    """The wheel of the edgeattn that runs. Raises DeviceError where it is not installed as a package."""
    try:
        metadata = importlib.metadata.distribution("edgeattn").read_text("METADATA")
    except importlib.metadata.PackageNotFoundError:
        metadata = None
    if metadata is None:
        raise DeviceError(
            "edgeattn is not installed as a package, so it cannot be sent to a device",
            fix="pip install edgeattn; in a checkout, pip install --editable .",
        )
    info = f"edgeattn-{edgeattn.__version__}.dist-info"
    files = _package_files()
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    files[f"{info}/entry_points.txt"] = _ENTRY_POINTS.encode()
    record = f"{info}/RECORD"
    files[record] = (
        "".join(f"{_record_line(name, files[name])}\n" for name in files).encode() + f"{record},,\n".encode()
    )
    return Wheel(f"edgeattn-{edgeattn.__version__}-py3-none-any.whl", _zipped(files))


def _package_files() -> dict[str, bytes]:
    """The files of the package by their names in the wheel, sorted; recipes and devices lie inside it."""
    package = Path(edgeattn.__file__).parent
    sources = {f"edgeattn/{path.relative_to(package).as_posix()}": path for path in package.rglob("*")}
    for kind in ("recipes", "devices"):
        sources |= {f"edgeattn/_{kind}/{path.name}": path for path in shipped(kind).glob("*.yaml")}  # type: ignore[arg-type]
    return {
        name: path.read_bytes()
        for name, path in sorted(sources.items())
        if path.is_file() and "__pycache__" not in path.parts
    }


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980, so that the same files give the same bytes
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()
