"""Kills, full disks, races, damage and read-only folders, with real processes, signals and file systems.

Clock jumps need no test: nothing in the store or the worker reads the wall clock.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from edgeattn import bundle
from edgeattn.bundle import Bundle
from edgeattn.cli.main import run as command
from edgeattn.errors import BundleError, ResourceError
from edgeattn.store import Artifact, Store, copy_folder, disk_errors

WHOLE = "a" * 1000 + "b" * 1000


def start(root: Path, moment: str = "never", step_s: float = 0) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("stage_process.py")
    return subprocess.Popen(
        [sys.executable, str(script), str(root), moment, str(root.parent / "steps"), str(step_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    return json.loads(output)


def steps_done(root: Path) -> list[str]:
    return (root.parent / "steps").read_text().split()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def litter(root: Path) -> list[str]:
    """Temporary and work files that a finished run should not leave."""
    return [str(path) for path in [*root.rglob(".*"), *(root / "work").iterdir()]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small tmpfs; skips where that is not permitted."""
    mounted = []

    def mounts(options: str) -> Path:
        point = tmp_path / f"mount{len(mounted)}"
        point.mkdir()
        tool = shutil.which("mount")
        result = tool and subprocess.run(
            [tool, "-t", "tmpfs", "-o", options, "edgeattn-test", point], capture_output=True, check=False
        )
        if not result or result.returncode:
            pytest.skip("mounting a tmpfs is not permitted here")
        mounted.append(point)
        return point

    yield mounts
    for point in mounted:
        subprocess.run(["umount", "--lazy", point], check=True)


def write_weights(out: Path, work: Path) -> dict[str, object]:
    (out / "weights.bin").write_bytes(b"weights")
    return {}


def run(root: Path, build: Callable[..., dict[str, object]] = write_weights, reads: object = 1) -> Artifact:
    return Store(root).run("distill", 1, reads=reads, build=build)


# --- a kill at any moment ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("after step 0", ["1", "2", "3"]),
        ("after step 2", ["3"]),
        ("in the middle of a file", []),
        ("before the commit", []),
        ("while the manifest is written", []),
        ("at the commit", []),
        ("after the commit", []),
    ],
)
def test_a_killed_stage_resumes(root: Path, moment: str, left: list[str]) -> None:
    killed = start(root, moment)
    assert killed.wait(20) == -signal.SIGKILL
    killed.communicate()
    before = steps_done(root)
    result = finish(start(root))
    assert result["content"] == WHOLE
    assert result["cached"] is (moment == "after the commit")
    assert steps_done(root)[len(before) :] == left
    assert litter(root) == []


def test_killed_at_any_time_until_it_is_done(root: Path) -> None:
    chance = random.Random(0)
    for _ in range(6):
        process = start(root, step_s=0.03)
        time.sleep(chance.uniform(0.02, 0.25))
        process.kill()
        process.communicate()
    assert finish(start(root))["content"] == WHOLE
    assert finish(start(root))["cached"] is True
    assert litter(root) == []
    # Each step may be repeated only when the kill fell between it and its checkpoint.
    assert len(steps_done(root)) <= 4 + 6


# --- a full disk ---------------------------------------------------------------------------------------------


def _plain(out: Path) -> None:
    (out / "weights.bin").write_bytes(b"x" * 4_000_000)


def _numpy_that_hides_the_reason(out: Path) -> None:
    np.save(out / "weights.npy", np.zeros(4_000_000, dtype=np.uint8))


@pytest.mark.parametrize("fill", [_plain, _numpy_that_hides_the_reason])
def test_full_disk(mount: Callable[..., Path], fill: Callable[[Path], None]) -> None:
    root = mount("size=1m")

    def too_large(out: Path, work: Path) -> dict[str, object]:
        fill(out)
        return {}

    run(root)
    with pytest.raises(ResourceError, match=r"the disk is full: .*\n  fix: free space, or .*EDGEATTN_CACHE"):
        run(root, too_large, reads=2)
    assert not list(root.rglob("weights.npy"))
    assert not list(root.rglob(".*"))
    assert run(root).cached
    assert not run(root, reads=3).cached


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_at_the_commit(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    run(root)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        run(root, reads=2)
    monkeypatch.undo()
    assert run(root).cached
    assert not run(root, reads=2).cached
    assert not list(root.rglob(".*"))


def test_full_disk_keeps_the_published_bundle(mount: Callable[..., Path], small_bundle: Path) -> None:
    place = mount("size=100k")
    bundle.publish(small_bundle, place / "out")
    (place / "ballast").write_bytes(b"x" * 50_000)
    (small_bundle / "model.onnx").write_bytes(b"x" * 200_000)
    bundle.write(small_bundle, Bundle.open(place / "out").manifest)
    with pytest.raises(ResourceError, match="the disk is full"):
        bundle.publish(small_bundle, place / "out")
    assert Bundle.open(place / "out").graph("efficient").read_bytes() == tiny_bundle.small_graph("efficient")
    assert sorted(path.name for path in place.iterdir()) == ["ballast", "out"]


@pytest.mark.parametrize("arguments", [["verify"], ["bench", "--quick"]])
def test_full_temporary_folder(
    mount: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:  # fmt: skip
    made = tiny_bundle.make(tmp_path / "tiny")
    place = mount("size=8k")
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    assert command([*arguments, str(made.path)]) == 5
    assert re.fullmatch(
        rf"(bench: .*\n)?error: {place}(/\S+)?: the disk is full: .*No space left on device\n"
        "  fix: free space, or set the environment variable TMPDIR to another folder\n",
        capsys.readouterr().err,
    )
    assert list(place.iterdir()) == []


def test_a_tree_that_does_not_fit_is_said_in_one_line(mount: Callable[..., Path], tmp_path: Path) -> None:
    """shutil.copytree reports this as a list of tuples."""
    (tmp_path / "tree").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tree" / name).write_bytes(b"x" * 20_000)
    place = mount("size=16k")
    said = rf"^{place}: the disk is full: \[Errno 28\] No space left on device[^\n]*\n  fix: free space, or clean up$"
    with pytest.raises(ResourceError, match=said), disk_errors(place, "clean up"):
        copy_folder(tmp_path / "tree", place / "tree")


# --- two processes at one key --------------------------------------------------------------------------------


def test_two_processes_build_once(root: Path) -> None:
    first = start(root, step_s=0.35)
    wait_for(lambda: (root.parent / "steps").exists())
    second = start(root)
    output, errors = second.communicate(timeout=20)
    assert errors.count("waiting for another process that is making stage distill") == 1
    built, found = finish(first), json.loads(output)
    assert (built["cached"], found["cached"]) == (False, True)
    assert built["digest"] == found["digest"]
    assert steps_done(root) == ["0", "1", "2", "3"]


def test_a_killed_process_leaves_no_lock(root: Path) -> None:
    holder = start(root, step_s=30)
    wait_for(lambda: (root.parent / "steps").exists())
    assert list((root / "locks").iterdir())
    holder.kill()
    holder.communicate()
    process = start(root)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "waiting" not in errors


# --- a damaged cache -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("files/weights.bin", "weights.bin: expected sha256:"),
        ("artifact.json", "digest does not match|unreadable"),
    ],
)
def test_a_flipped_bit_is_quarantined_and_rebuilt(
    root: Path, caplog: pytest.LogCaptureFixture, file: str, said: str
) -> None:
    artifact = run(root, lambda out, work: {**write_weights(out, work), "loss": 0.5})
    damaged = artifact.path.parent / file
    content = bytearray(damaged.read_bytes())
    content[content.index(b"5") if b"loss" in content else 0] ^= 1
    damaged.write_bytes(content)
    again = run(root)
    assert not again.cached
    assert (again.path / "weights.bin").read_bytes() == b"weights"
    (quarantined,) = (root / "quarantine").iterdir()
    assert (quarantined / file).read_bytes() == content
    assert str(quarantined) in caplog.text
    assert any(word in caplog.text for word in said.split("|"))
    assert run(root).cached


@pytest.mark.parametrize("torn", ["missing", "extra", "no manifest"])
def test_a_torn_entry_is_rebuilt(root: Path, torn: str) -> None:
    artifact = run(root)
    if torn == "missing":
        (artifact.path / "weights.bin").unlink()
    elif torn == "extra":
        (artifact.path / "more.onnx").write_bytes(b"")
    else:
        (artifact.path.parent / "artifact.json").unlink()
    assert not run(root).cached
    assert [path.name for path in run(root).path.iterdir()] == ["weights.bin"]


# --- other file systems and read-only caches -----------------------------------------------------------------


def test_publish_across_file_systems(small_bundle: Path, mount: Callable[..., Path]) -> None:
    out = mount("size=1m") / "out"
    assert out.parent.stat().st_dev != small_bundle.stat().st_dev
    bundle.publish(small_bundle, out)
    bundle.publish(small_bundle, out)
    assert Bundle.open(out).manifest == Bundle.open(small_bundle).manifest
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_read_only_cache_gives_what_it_holds_and_says_the_rest(mount: Callable[..., Path]) -> None:
    root = mount("size=1m")
    run(root)
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    assert run(root).cached
    with pytest.raises(ResourceError, match=r"(?s)cannot be written to: .*Read-only.*EDGEATTN_CACHE"):
        run(root, reads=2)


def test_a_cache_of_another_user(root: Path) -> None:
    run(root)
    (root / "locks").chmod(0o555)
    if os.access(root / "locks", os.W_OK):
        pytest.skip("permission bits do not bind this user (root)")
    assert run(root).cached
    with pytest.raises(ResourceError, match=r"(?s)cannot be written to: .*Permission denied.*EDGEATTN_CACHE"):
        run(root, reads=2)


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"(?s)cannot be written to: .*EDGEATTN_CACHE"):
        run(tmp_path / "file" / "cache")


def test_a_stage_s_own_permission_error_is_not_blamed_on_the_cache(root: Path) -> None:
    def denied(out: Path, work: Path) -> dict[str, object]:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/train.csv")

    with pytest.raises(PermissionError, match=r"train\.csv"):
        run(root, denied)


# --- a changed bundle ----------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads((path / "bundle.json").read_text())
    change(document)
    (path / "bundle.json").write_text(json.dumps(document))


def refused(path: Path, match: str) -> None:
    with pytest.raises(BundleError, match=match) as caught:
        Bundle.open(path)
    assert caught.value.exit_code == 2
    assert caught.value.fix


def test_a_flipped_byte_names_file_and_both_digests(small_bundle: Path) -> None:
    old = Bundle.open(small_bundle).manifest.files["model.onnx"].sha256
    (small_bundle / "model.onnx").write_bytes(tiny_bundle.small_graph("efficienu"))
    refused(small_bundle, rf"model\.onnx: was changed: its digest is sha256:\w{{64}}; bundle\.json says {old}")


def test_another_size(small_bundle: Path) -> None:
    old = (small_bundle / "model.onnx").stat().st_size
    with (small_bundle / "model.onnx").open("ab") as file:
        file.write(b"!")
    refused(small_bundle, rf"model\.onnx: has {old + 1} bytes; bundle\.json says {old}")


def test_swapped_files(small_bundle: Path) -> None:
    shutil.copyfile(small_bundle / "dense.onnx", small_bundle / "model.onnx")
    refused(small_bundle, r"model\.onnx: has \d+ bytes")


def test_a_missing_file(small_bundle: Path) -> None:
    (small_bundle / "engine/dense/engine.json").unlink()
    refused(small_bundle, r"engine/dense/engine\.json: is missing")


def test_a_symlink_even_to_the_same_bytes(small_bundle: Path, tmp_path: Path) -> None:
    (small_bundle / "model.onnx").rename(tmp_path / "model.onnx")
    (small_bundle / "model.onnx").symlink_to(tmp_path / "model.onnx")
    refused(small_bundle, r"model\.onnx: is a link")


def test_a_linked_folder(small_bundle: Path, tmp_path: Path) -> None:
    (small_bundle / "engine").rename(tmp_path / "engine")
    (small_bundle / "engine").symlink_to(tmp_path / "engine")
    refused(small_bundle, "engine: is a link")


def test_hard_links_are_plain_files_and_nothing_is_written_through_one(small_bundle: Path, tmp_path: Path) -> None:
    """OTA systems deploy by hard link: all names of a file have the same permissions, and what is read is hashed."""
    Bundle.open(small_bundle).record("verify.json", {"passed": False})
    shutil.copytree(small_bundle, tmp_path / "deployed", copy_function=os.link)
    deployed = Bundle.open(tmp_path / "deployed")
    deployed.record("verify.json", {"passed": True})
    bundle.publish(deployed.path, tmp_path / "published")
    assert json.loads((small_bundle / "verify.json").read_text()) == {"passed": False}
    assert (tmp_path / "published" / "model.onnx").stat().st_nlink == 1
    Bundle.open(small_bundle)
    (small_bundle / "model.onnx").write_bytes(tiny_bundle.small_graph("other"))
    refused(tmp_path / "deployed", r"model\.onnx: ")


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "engine/../../x", "a//b", "", ".", "a\\b", "a\0b"])
def test_a_path_that_leaves_the_bundle(small_bundle: Path, name: str) -> None:
    edit(small_bundle, lambda document: document["files"].update({name: document["files"]["model.onnx"]}))
    refused(small_bundle, "which is not a path inside the bundle")
    edit(small_bundle, lambda document: document["files"].pop(name))
    for key in ("path", "graph"):
        before = (small_bundle / "bundle.json").read_text()
        edit(small_bundle, lambda document, key=key: document["engines"]["dense"].update({key: name}))
        refused(small_bundle, rf"engines\.dense\.{key}: .* is not (a folder engine/NAME|the name of an ONNX file)")
        (small_bundle / "bundle.json").write_text(before)


def test_an_engine_of_an_unlisted_graph(small_bundle: Path) -> None:
    edit(small_bundle, lambda document: document["engines"]["dense"].update(graph="other.onnx"))
    refused(small_bundle, r"engine 'dense' needs 'other\.onnx', which is not listed")


@pytest.mark.parametrize("name", ["other.onnx", "Other.ONNX.data", "model.onnx.data", "engine/x/plan.bin"])
def test_an_unlisted_file_where_a_runtime_would_find_it(small_bundle: Path, name: str) -> None:
    (small_bundle / name).parent.mkdir(exist_ok=True)
    (small_bundle / name).write_bytes(b"")
    refused(small_bundle, rf"{name}: is not listed in bundle\.json")


def test_a_newer_schema_names_both_versions(small_bundle: Path) -> None:
    edit(small_bundle, lambda document: document.update(schema_version=2, unheard_of=True))
    refused(small_bundle, "has schema version 2; this edgeattn reads version 1")


def test_an_unknown_field(small_bundle: Path) -> None:
    edit(small_bundle, lambda document: document["task"].update(command="rm"))
    refused(small_bundle, r"task\.command: Extra inputs are not permitted")


def test_a_device_node_in_place_of_a_file(small_bundle: Path) -> None:
    (small_bundle / "model.onnx").unlink()
    os.mkfifo(small_bundle / "model.onnx")
    refused(small_bundle, r"model\.onnx: is not a plain file")


def test_arrays_that_are_no_arrays(small_bundle: Path) -> None:
    manifest = Bundle.open(small_bundle).manifest
    (small_bundle / "samples.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(BundleError, match=r"samples\.npz: cannot be read"):
        bundle.write(small_bundle, manifest).arrays("samples")


def test_a_report_killed_half_way_still_opens(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`record` may be killed at each of its writes."""
    Bundle.open(small_bundle).record("verify.json", {"passed": False})
    replace = Path.replace
    for writes in range(3):
        left = iter(range(writes))

        def replace_some(self: Path, target: Path, left: Iterator[int] = left) -> Path:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", replace_some)
        with pytest.raises(KeyboardInterrupt):
            Bundle.open(small_bundle).record("verify.json", {"passed": True})
        monkeypatch.undo()
        Bundle.open(small_bundle).record("verify.json", {"passed": False})
