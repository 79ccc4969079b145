"""install.md of a bundle that is left unbuilt: what is typed on the device can be typed as it stands."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from edgeattn import __version__
from edgeattn import bundle as bundles
from edgeattn.bundle import Bundle, TensorSpec, publish
from edgeattn.devices import load_device
from edgeattn.devices.load import UNKNOWN
from edgeattn.hosts.absent import leave_unbuilt
from edgeattn.hosts.graph_tools import TYPINGS, polygraphy, trtexec
from edgeattn.interface import Interface
from edgeattn.runtimes.base import ShapeRange

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


def unbuilt(path: Path, target: str, runtimes: tuple[str, ...]) -> Bundle:
    """A bundle of one graph per method, left unbuilt in the folder `path`."""
    methods = ("fp16", "int8", "int8-fp16")
    profile = json.loads(load_device(target, probed=UNKNOWN).model_dump_json())
    made = tiny_bundle.make(path, candidates={name: tiny_bundle.graph() for name in methods}, target=profile)
    candidates = tuple(each.model_copy(update={"runtimes": runtimes}) for each in made.manifest.candidates)
    bundle = bundles.write(path, made.manifest.model_copy(update={"candidates": candidates}))
    leave_unbuilt(bundle)
    return bundle


@pytest.fixture(scope="module")
def jetson(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return unbuilt(tmp_path_factory.mktemp("jetson") / "tiny", "jetson", ("tensorrt", "onnxruntime"))


def text_of(bundle: Bundle) -> str:
    return (bundle.path / "install.md").read_text()


def commands(text: str) -> list[list[str]]:
    """The words of every indented line that is not of the Dockerfile."""
    dockerfile = ("FROM", "RUN", " &&", "ENTRYPOINT")
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return [shlex.split(line) for line in lines if not line.startswith(dockerfile)]


def test_every_line_can_be_typed_in_the_folder_that_holds_the_bundle(jetson: Bundle) -> None:
    text = text_of(jetson)
    for words in commands(text):
        for word in words:
            path = word.removeprefix("--onnx=")
            if path.startswith("tiny/"):
                assert (jetson.path.parent / path).is_file(), word
    prose = "\n".join(line for line in text.splitlines() if "save_json" not in line)
    assert "{" not in prose
    assert "None" not in text
    assert "check.json" not in text, "the bundle has none"


def test_the_steps_of_a_jetson(jetson: Bundle) -> None:
    text = text_of(jetson)
    typed = [" ".join(words) for words in commands(text)]
    for step in (
        "sudo apt-get install --yes python3-venv python3-libnvinfer",
        "python3 -m venv --system-site-packages edgeattn-venv",
        f"edgeattn-venv/bin/pip install edgeattn[tensorrt,onnxruntime]=={__version__}",
        "edgeattn-venv/bin/edgeattn build tiny",
        "edgeattn-venv/bin/edgeattn verify tiny",
        "edgeattn-venv/bin/edgeattn bench tiny",
        "sudo systemctl isolate multi-user.target",
    ):
        assert step in typed
    assert "JetPack 5.1 to 5.1.6 has its TensorRT module for Python 3.8 only" in text
    assert "## What was not run on hardware" in text
    assert "- the lines of trtexec, polygraphy and docker on this page\n" in text
    assert "    FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0\n" in text


def test_trtexec_has_the_flags_of_each_version(jetson: Bundle) -> None:
    shapes = (
        "--minShapes=input_ids:1x1,attention_mask:1x1 --optShapes=input_ids:1x16,attention_mask:1x16 "
        "--maxShapes=input_ids:1x16,attention_mask:1x16"
    )
    timed = "--memPoolSize=workspace:512 --useCudaGraph --noDataTransfers --useSpinWait"

    def line(method: str, flags: str, rest: str = timed) -> str:
        graph = f"--onnx=tiny/candidates/efficient-{method}/model.onnx --saveEngine=efficient-{method}.plan"
        return " ".join(f"    {TRTEXEC} {graph} {shapes} {flags} {rest}".split(" ")).replace("  --mem", " --mem")

    _, old, new, newest = (text_of(jetson).split("### TensorRT "))[:4]
    assert old.startswith("before 10.12 (JetPack 5.1 to 5.1.6, JetPack 6.0, JetPack 6.1 to 6.2.2)\n")
    assert new.startswith("10.12 to 10.16 (JetPack 7.2)\n")
    assert newest.startswith("11 (JetPack 7.2.2 with TensorRT 11)\n")
    assert line("fp16", "--fp16") in old
    assert line("int8", "--int8") in old
    assert line("int8-fp16", "--int8 --fp16") in old
    for method in ("fp16", "int8", "int8-fp16"):
        assert line(method, "--stronglyTyped") in new
        assert line(method, "", "--memPoolSize=workspace:512") in newest
    assert len([words for words in commands(text_of(jetson)) if words[0] == TRTEXEC]) == 3 * 4


def test_polygraphy_understands_its_lines_and_inputs(jetson: Bundle, tmp_path: Path) -> None:
    """Its own parser, which writes the script that the line would run."""
    from polygraphy.json import load_json

    bin_folder, parent = Path(sys.executable).parent, jetson.path.parent
    python, first, *_, last = (words for words in commands(text_of(jetson)) if "polygraphy" in " ".join(words))
    subprocess.run([sys.executable, *python[1:]], cwd=parent, check=True)
    (inputs,) = load_json(str(parent / "inputs.json"))
    (parent / "inputs.json").unlink()
    samples = np.load(jetson.path / "samples.npz")
    assert np.array_equal(inputs["attention_mask"], samples["input.attention_mask"][:1])
    scripts = []
    for number, words in enumerate((first, last)):
        out = tmp_path / f"{number}.py"
        command = [str(bin_folder / "polygraphy"), *words[1:], "--gen-script", str(out)]
        subprocess.run(command, cwd=parent, check=True, capture_output=True)
        scripts.append(out.read_text())
    assert "tiny/candidates/efficient-fp16/model.onnx" in scripts[0]
    assert ".add('input_ids', min=[1, 1], opt=[1, 16], max=[1, 16])" in scripts[0]
    assert "fp16=True" in scripts[0]
    assert "memory_pool_limits={trt.MemoryPoolType.WORKSPACE: 536870912}" in scripts[0]
    assert "fp16=True" not in scripts[1]


def test_the_name_of_the_folder_here_means_nothing_there(tmp_path: Path) -> None:
    made = unbuilt(tmp_path / "made", "raspberry-pi-5", ("onnxruntime",))
    text = text_of(publish(made.path, tmp_path / "a $(reboot); `b`\n# c", finish=leave_unbuilt))
    assert "reboot" not in text
    assert "under the name `tiny`" in text
    assert ".edgeattn-new" not in text


def test_names_of_inputs_are_quoted_for_the_shell_and_for_trtexec(jetson: Bundle) -> None:
    spec = TensorSpec(name="scope/Input:0", dtype="float32", dims=("batch", 8))
    interface = Interface(inputs=(spec,), outputs=(spec.model_copy(update={"name": "out"}),), axes={})
    ranges = {spec.name: ShapeRange((1, 8), (2, 8), (4, 8))}
    candidate = jetson.manifest.candidates[0]
    words = shlex.split(trtexec("tiny", candidate, ranges, interface, TYPINGS[0], None))
    assert "--maxShapes='scope/Input:0':4x8" in words
    assert "scope/Input:0:[4,8]" in shlex.split(polygraphy("p", "tiny", candidate, ranges, TYPINGS[0], None, "in.json"))


def test_trtexec_takes_no_shapes_for_a_model_of_one_size(jetson: Bundle) -> None:
    spec = TensorSpec(name="pixels", dtype="float32", dims=(1, 8))
    interface = Interface(inputs=(spec,), outputs=(spec.model_copy(update={"name": "out"}),), axes={})
    ranges = {spec.name: ShapeRange((1, 8), (1, 8), (1, 8))}
    assert "Shapes" not in trtexec("tiny", jetson.manifest.candidates[0], ranges, interface, TYPINGS[0], None)


def test_a_bundle_for_a_processor_has_nothing_of_tensorrt(tmp_path: Path) -> None:
    text = text_of(unbuilt(tmp_path / "tiny", "raspberry-pi-5", ("onnxruntime",)))
    assert f"edgeattn-venv/bin/pip install 'edgeattn[onnxruntime]=={__version__}'" in text
    for word in ("trtexec", "docker", "swap", "libnvinfer"):
        assert word not in text
