"""Engines of the TensorRT family, built for real by TensorRT for RTX, which needs no GPU for it."""

from __future__ import annotations

import json
import shutil

import onnx
import pytest
import tiny_bundle
import trt_graphs

from edgeattn.bundle import Bundle
from edgeattn.cli.main import run
from edgeattn.errors import BundleError, DeviceError, InputError, ResourceError
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.base import Configuration
from edgeattn.runtimes.tensorrt_family import runtime as module
from edgeattn.runtimes.tensorrt_family.gpu import Gpu, gpu_here
from edgeattn.runtimes.tensorrt_family.memory import workspace_bytes
from edgeattn.runtimes.tensorrt_family.missing import how_to_get_tensorrt
from edgeattn.runtimes.tensorrt_family.profiles import profile_of

pytest.importorskip("tensorrt_rtx")
RTX = RUNTIMES["tensorrt_rtx"]
FOR_SM86 = Configuration("default", {"sm": "8.6"})
NANO = Gpu("Orin Nano", "8.7", 4 * 10**9, integrated=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bundle whose engines are plans."""
    return tiny_bundle.make(tmp_path_factory.mktemp("plans") / "bundle", runtime="tensorrt_rtx").path


@pytest.fixture
def bundle(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "bundle")


def test_an_engine_says_what_it_was_built_for(whole):
    folder = whole / "engine" / "efficient"
    assert sorted(file.name for file in folder.iterdir()) == ["engine.json", "engine.plan", "layers.json"]
    found = json.loads((folder / "engine.json").read_text())
    assert (found["runtime"], found["version"], found["l4t"]) == ("tensorrt_rtx", RTX.version(), None)
    assert found["shapes"][0]["input_ids"] == {"least": [1, 1], "usual": [4, 32], "most": [8, 130]}
    layers = json.loads((folder / "layers.json").read_text())
    assert {layer["LayerType"] for layer in layers["layers"]} >= {"GATHER", "MATRIX_MULTIPLY", "REDUCE"}
    if gpu_here() is None:
        assert found["sm"] == "8.6"
        assert layers["note"].startswith("built without a GPU")


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_graphs_of_all_methods_and_several_profiles_are_built(tmp_path, kind):
    onnx.save(getattr(trt_graphs, kind)(), tmp_path / "model.onnx")
    shapes = trt_graphs.rows(4, 16)
    document = RTX.build(
        tmp_path / "model.onnx", tmp_path / "engine", method=kind, configuration=FOR_SM86, shapes=shapes
    )
    assert len(document["shapes"]) == 2
    assert (tmp_path / "engine" / "engine.plan").stat().st_size > 10_000


def test_a_graph_that_cannot_be_built_names_node_and_reason(tmp_path):
    onnx.save(trt_graphs.refused(), tmp_path / "model.onnx")
    with pytest.raises(
        BundleError,
        match=r"tensorrt_rtx 1\.\S+ cannot build the graph: node 'layer\.0/quantize' \(DynamicQuantizeLinear\): is not",
    ):
        RTX.build(tmp_path / "model.onnx", tmp_path / "engine", method="int8", configuration=FOR_SM86)


def test_a_gpu_that_it_does_not_build_for_is_named(tmp_path):
    onnx.save(trt_graphs.fp16(), tmp_path / "model.onnx")
    orin = Configuration("default", {"sm": "8.7"})
    with pytest.raises(DeviceError, match=r"TensorRT for RTX \S+ builds for no GPU of compute capability 8\.7"):
        RTX.build(tmp_path / "model.onnx", tmp_path / "engine", method="fp16", configuration=orin)


@pytest.mark.parametrize(
    ("here", "message"),
    [
        ({"version": "1.6.0.1"}, r"was built for TensorRT for RTX 1\.7\S+, this machine has 1\.6\.0\.1"),
        ({"sm": "8.7"}, r"was built for a GPU of compute capability 8\.6, this machine has 8\.7"),
        ({"l4t": "36.4.3"}, r"was built for L4T none, this machine has 36\.4\.3"),
    ],
    ids=["TensorRT", "SM", "L4T"],
)
@pytest.mark.skipif(gpu_here() is not None, reason="the engine is of this GPU")
def test_an_engine_of_another_machine_is_refused_before_it_is_read(bundle, here, message, monkeypatch):
    (bundle / "engine" / "efficient" / "engine.plan").unlink()
    there = Gpu("another", here.get("sm", "8.6"), 8 * 10**9, integrated=False)
    monkeypatch.setattr("edgeattn.runtimes.tensorrt_family.gpu.gpu_here", lambda: there)
    monkeypatch.setattr(module, "_l4t", lambda: here.get("l4t"))
    if "version" in here:
        monkeypatch.setattr("edgeattn.runtimes.tensorrt_family.library.library_version", lambda _: here["version"])
    with pytest.raises(DeviceError, match=message) as raised:
        RTX.load(bundle, bundle / "engine" / "efficient")
    assert raised.value.exit_code == 4
    assert "`edgeattn build` again" in raised.value.fix


@pytest.mark.skipif(gpu_here() is not None, reason="this machine has a GPU")
def test_without_a_gpu_an_engine_is_neither_run_nor_built(bundle, tmp_path):
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU, and CUDA's driver shows this process none"):
        RTX.load(bundle, bundle / "engine" / "efficient")
    with pytest.raises(DeviceError, match="needs an NVIDIA GPU"):
        RTX.build(bundle / "model.onnx", tmp_path / "engine", method="fp32")
    assert run(["verify", str(bundle)]) == 4


@pytest.mark.parametrize("name", ["engine.plan", "layers.json"])
def test_a_tampered_engine_is_refused(bundle, name, capsys):
    file = bundle / "engine" / "efficient" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="was changed: its digest is"):
        Bundle.open(bundle)
    assert run(["verify", str(bundle)]) == 2
    assert f"{name}: was changed" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["engine.plan", "layers.json"])
def test_an_engine_without_one_of_its_files_is_refused(bundle, name):
    (bundle / "engine" / "efficient" / name).unlink()
    document = json.loads((bundle / "bundle.json").read_text())
    del document["files"][f"engine/efficient/{name}"]
    (bundle / "bundle.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match=rf"engine/efficient/{name} is not listed in bundle\.json"):
        Bundle.open(bundle)


def test_a_library_that_is_missing_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr("edgeattn.runtimes.tensorrt_family.library.library_version", lambda _: None)
    with pytest.raises(DeviceError, match="TensorRT for RTX is not installed") as raised:
        RTX.require()
    assert raised.value.fix == "pip install 'edgeattn[rtx]'"
    with pytest.raises(DeviceError, match="TensorRT is not installed: no Python module tensorrt") as raised:
        RUNTIMES["tensorrt"].require()
    assert "tensorrt" in raised.value.fix


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["usr/lib/python3.10/dist-packages/tensorrt"], "`python3.10 -m venv --system-site-packages`"),
        (["usr/lib/python3.12/dist-packages/tensorrt"], "is for Python 3.12, this is 3.10: make the virtual"),
        (
            ["usr/lib/python3.8/dist-packages/tensorrt"],
            "is for Python 3.8, and edgeattn needs 3.10 or later: build the",
        ),
        (["etc/nv_tegra_release"], "JetPack has it: sudo apt install python3-libnvinfer"),
        ([], "pip install 'edgeattn[tensorrt]'"),
    ],
    ids=["JetPack 6, closed environment", "JetPack 7, other Python", "JetPack 5", "Jetson without it", "no Jetson"],
)
def test_where_to_find_jetpacks_module(tmp_path, files, says):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
    assert says in how_to_get_tensorrt(tmp_path, (3, 10))


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("8.5.2.2", ["default"]),
        ("8.6.2", ["default"]),
        ("10.3.0", ["default", "fp16 flag"]),
        ("10.16.2", ["default", "fp16 flag"]),
        ("11.4.1", ["default"]),
    ],
)
def test_the_fp16_flag_is_tried_where_tensorrt_has_it_beside_strong_typing(version, names, monkeypatch):
    monkeypatch.setattr("edgeattn.runtimes.tensorrt_family.library.library_version", lambda _: version)
    assert [each.name for each in RUNTIMES["tensorrt"].configurations(None)] == names


def test_an_orin_nano_keeps_most_of_its_memory_in_a_build():
    assert workspace_bytes(NANO) == 500_000_000
    assert workspace_bytes(Gpu("RTX 4090", "8.9", 24 * 10**9, integrated=False)) is None
    assert workspace_bytes(None) is None


def test_a_build_that_is_killed_for_memory_is_tried_with_less_and_then_says_what_to_do(tmp_path, monkeypatch):
    onnx.save(trt_graphs.fp16(), tmp_path / "model.onnx")
    tried = []

    def killed(*_args, **_options):
        tried.append(json.loads((tmp_path / "engine" / "engine.json").read_text())["workspace_bytes"])
        raise ResourceError("was killed (SIGKILL), as the kernel does when memory runs out; its peak was 3100 MiB")

    monkeypatch.setattr(module, "gpu_here", lambda: NANO)
    monkeypatch.setattr(module, "call", killed)
    with pytest.raises(ResourceError, match="its peak was 3100 MiB") as raised:
        RTX.build(tmp_path / "model.onnx", tmp_path / "engine", method="fp16", configuration=FOR_SM86)
    assert tried == [500_000_000, 125_000_000]
    assert "add swap" in raised.value.fix


def test_an_input_gets_the_first_profile_that_it_fits():
    ranges = trt_graphs.lengths(16, 64)
    for length, place in ((1, 0), (16, 0), (17, 1), (64, 1)):
        assert profile_of({"input_ids": (1, length), "attention_mask": (1, length)}, ranges) == place
    with pytest.raises(InputError, match=r"input_ids \[1, 65\].* fits none of the shapes .*\[1, 17\] to \[1, 64\]"):
        profile_of({"input_ids": (1, 65), "attention_mask": (1, 65)}, ranges)
    with pytest.raises(InputError, match="fits none"):
        profile_of({"input_ids": (2, 8), "attention_mask": (2, 8)}, ranges)
