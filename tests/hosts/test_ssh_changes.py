"""Jobs that change more of a bundle than its reports, as a build does: all of the result comes back, or nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from ssh_device import fake

from edgeattn.bundle import Bundle
from edgeattn.errors import BundleError
from edgeattn.hosts import open_host
from edgeattn.jobs import Verify
from edgeattn.progress import Progress

# The job on the device: it writes a file, lists it in bundle.json, and prints its document.
SIGNED = """cd "$2"; echo '{}' > config.json
"$(dirname "$0")/python" - <<'END'
import json
from edgeattn.store import sha256_file
from pathlib import Path
document = json.loads(Path("bundle.json").read_text())
for name in [*document["files"], "config.json"]:
    document["files"][name] = {"sha256": sha256_file(Path(name)), "bytes": Path(name).stat().st_size}
Path("bundle.json").write_text(json.dumps(document))
END
"""
PRINTS = "echo '{\"made\": true}'"


@dataclass(frozen=True)
class Build(Verify):
    """Stands for a job that makes engines."""

    only_reports: ClassVar[bool] = False


def build(tiny):
    return open_host("board").run(Build(), tiny.path, Progress())


def test_the_whole_result_replaces_the_bundle(device, tiny):
    fake(device, SIGNED + PRINTS)
    assert build(tiny) == {"made": True}
    opened = Bundle.open(tiny.path)
    assert "config.json" in opened.manifest.files
    assert (tiny.path / "config.json").read_text() == "{}\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("echo x >> model.onnx", "model.onnx: has "),
        ("echo x > engine/efficient/other.so", "other.so: is not listed in bundle.json"),
        ("rm model.onnx", "model.onnx: is missing"),
        ("echo '{}' > bundle.json", "bundle.json"),
    ],
)
def test_a_result_that_is_no_bundle_is_refused_and_nothing_changes(device, tiny, change, said):
    fake(device, f"{SIGNED}\n{change}\n{PRINTS}")
    before = sorted((path, path.stat().st_mtime_ns) for path in tiny.path.rglob("*"))
    with pytest.raises(BundleError, match=said):
        build(tiny)
    assert sorted((path, path.stat().st_mtime_ns) for path in tiny.path.rglob("*")) == before


def test_files_of_the_user_in_the_bundle_s_folder_are_not_lost(device, tiny):
    fake(device, SIGNED + PRINTS)
    (tiny.path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="is not part of the bundle that would be replaced"):
        build(tiny)
    assert (tiny.path / "notes.txt").read_text() == "mine"


def test_a_job_s_document_alone_is_wanted(device, tiny):
    """As with several hosts: nothing comes back but the document."""
    fake(device, SIGNED + PRINTS)
    before = json.loads((tiny.path / "bundle.json").read_text())
    assert open_host("board", record=False).run(Build(), tiny.path, Progress()) == {"made": True}
    assert json.loads((tiny.path / "bundle.json").read_text()) == before


def test_the_folder_may_be_named_in_any_way(device, tiny, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tiny.path)
    monkeypatch.chdir(tmp_path)
    assert open_host("board").run(Verify(), Path("link"), Progress())["passed"]
    assert (tiny.path / "verify.json").exists()
    assert (tmp_path / "link").is_symlink()
