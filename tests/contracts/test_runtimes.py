"""What every runtime promises. A new entry of the registry is tested by itself."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
import tiny_bundle
from onnx import TensorProto, helper
from runtimes_here import require

from edgeattn.bundle import Bundle
from edgeattn.devices import CpuFacts, probe_cpu, usable_threads
from edgeattn.errors import BundleError, DeviceError, InputError
from edgeattn.export.buckets import fix_length
from edgeattn.runtimes import RUNTIMES

every_runtime = pytest.mark.parametrize("name", list(RUNTIMES))
# Of the bundle's own graphs: their engine is settings only, which any machine may be given.
graph_runtime = pytest.mark.parametrize("name", [name for name in RUNTIMES if not RUNTIMES[name].compiles])
# Processors with all that configurations may ask for, so that each of them is built and loaded.
ANY_X86 = CpuFacts(instruction_sets=("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"))
ANY_ARM = CpuFacts(instruction_sets=("neon", "asimdhp", "bf16", "i8mm"))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """runtime -> a folder with the dense graph and its engine, made when it is first asked for."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            onnx.save(tiny_bundle.graph(dense=True), made[name] / "model.onnx")
            tiny_bundle.build_engine(name, made[name] / "model.onnx", made[name] / "engine")
        return made[name]

    return of


@pytest.fixture
def built(tmp_path, name, originals):
    """A folder with the dense graph and its engine."""
    require(name)
    return shutil.copytree(originals(name), tmp_path, dirs_exist_ok=True)


@pytest.fixture
def root(request, name):
    """`built`, whose engine can run here."""
    require(name, to_run=True)
    return request.getfixturevalue("built")


def edit(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def feeds(batch, length):
    """Sentences of different lengths, the first one of `length` tokens."""
    rng = np.random.default_rng(length)
    mask = (np.arange(length) < rng.integers(1, length + 1, batch)[:, None]).astype(np.int64)
    mask[0] = 1
    return {"input_ids": rng.integers(1, tiny_bundle.VOCABULARY, mask.shape) * mask, "attention_mask": mask}


def expected(given, dense=True):
    return tiny_bundle.answers(tiny_bundle.graph(dense=dense), given)


@every_runtime
def test_outputs_are_those_of_the_reference_evaluator(name, root):
    session = RUNTIMES[name].load(root, root / "engine")
    before = [
        (given, session.run(given)["sentence_embedding"])
        for given in (feeds(batch, length) for batch, length in ((1, 1), (3, 7), (2, 130), (1, 12), (5, 64), (3, 7)))
    ]
    for given, found in before:  # compared last: what an inference returned outlives the next ones
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(given), atol=1e-5)


@every_runtime
@pytest.mark.parametrize("cpu", [None, probe_cpu(), ANY_X86, ANY_ARM], ids=["unknown", "this", "x86", "arm"])
def test_every_configuration_keeps_its_cosine(name, root, cpu):
    runtime, given = RUNTIMES[name], feeds(8, 40)
    configurations = runtime.configurations(cpu)
    assert (configurations[0].name, configurations[0].settings, configurations[0].least_cosine) == ("default", {}, None)
    assert len({each.name for each in configurations}) == len(configurations)
    for configuration in configurations:
        folder = root / configuration.name
        document = tiny_bundle.build_engine(name, root / "model.onnx", folder, configuration)
        assert json.loads((folder / "engine.json").read_text()) == document
        found = runtime.load(root, folder).run(given)["sentence_embedding"]
        cosine = (found * expected(given)).sum(1)  # both are of length 1
        assert cosine.min() >= (configuration.least_cosine or 0.99999)


@graph_runtime
def test_engines_of_equal_graphs_and_configurations_are_equal(name, root):
    RUNTIMES[name].build(root / "model.onnx", root / "again", method="fp32")
    first, second = ({file.name: file.read_bytes() for file in (root / f).iterdir()} for f in ("engine", "again"))
    assert first == second


@every_runtime
def test_a_session_says_how_it_runs(name, root):
    facts = RUNTIMES[name].load(root, root / "engine").describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["runtime"] == name
    assert facts["runtime_version"] == RUNTIMES[name].version()
    assert facts["tuned_here"] is True


@graph_runtime
def test_threads_are_those_that_this_process_may_use_unless_they_are_given(name, root):
    assert RUNTIMES[name].load(root, root / "engine").describe()["threads"] == usable_threads()
    assert RUNTIMES[name].load(root, root / "engine", threads=1).describe()["threads"] == 1


@every_runtime
def test_inputs_that_are_not_the_graphs_are_refused(name, root):
    session = RUNTIMES[name].load(root, root / "engine")
    given = feeds(2, 5)
    session.run(given)
    for wrong in ({"input_ids": given["input_ids"]}, {**given, "more": given["input_ids"]}):
        with pytest.raises(Exception, match=r"attention_mask|more"):
            session.run(wrong)
    np.testing.assert_allclose(session.run(given)["sentence_embedding"], expected(given), atol=1e-5)


@every_runtime
def test_inputs_may_have_any_layout_and_be_read_only(name, root):
    session = RUNTIMES[name].load(root, root / "engine")
    given = feeds(3, 7)
    others = {key: np.asfortranarray(value) for key, value in given.items()}
    for array in others.values():
        array.flags.writeable = False
    np.testing.assert_allclose(session.run(others)["sentence_embedding"], expected(given), atol=1e-5)


@graph_runtime
@pytest.mark.parametrize("length", [1, 4, 5, 8, 9, 12])
def test_buckets_give_the_outputs_of_the_graph_for_any_length(name, root, length):
    for fixed in (4, 8):
        fix_length(root / "model.onnx", root / f"model-{fixed}.onnx", "sequence", fixed)
    RUNTIMES[name].add_buckets(root / "engine", {8: "model-8.onnx", 4: "model-4.onnx"})
    session = RUNTIMES[name].load(root, root / "engine")
    assert session.describe()["buckets"] == [4, 8]
    given = feeds(3, length)
    np.testing.assert_allclose(session.run(given)["sentence_embedding"], expected(given), atol=1e-5)


@graph_runtime
def test_a_graph_that_is_missing_is_named(name, root):
    edit(root / "engine" / "engine.json", graph="gone.onnx")
    with pytest.raises(BundleError, match=r"the engine's graph gone\.onnx is missing"):
        RUNTIMES[name].load(root, root / "engine")


@graph_runtime
def test_a_bucket_that_is_missing_or_outside_the_bundle_is_refused(name, root):
    RUNTIMES[name].add_buckets(root / "engine", {8: "model-8.onnx"})
    with pytest.raises(BundleError, match=r"the engine's graph model-8\.onnx is missing"):
        RUNTIMES[name].load(root, root / "engine")
    edit(root / "engine" / "engine.json", buckets=[{"length": 8, "graph": "../model-8.onnx"}])
    with pytest.raises(BundleError, match="is not the name of an ONNX file directly in the bundle"):
        RUNTIMES[name].load(root, root / "engine")


@every_runtime
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph": "../model.onnx"}, "is not the name of an ONNX file directly in the bundle"),
        ({"custom_operators": "evil.so"}, "custom_operators: Extra inputs are not permitted"),
        ({"runtime": "another"}, "runtime: Input should be '"),
        ({"version": "; rm"}, "version: String should match pattern"),
        ({"schema": 2}, "has schema version 2; this edgeattn reads version 1"),
        ({"instruction_sets": "all"}, "instruction_sets: (Input should be a valid|Extra inputs are not permitted)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_engine_json_is_named(name, built, change, message):
    edit(built / "engine" / "engine.json", **change)
    with pytest.raises(BundleError, match=message):
        RUNTIMES[name].load(built, built / "engine")


@every_runtime
def test_a_missing_or_broken_engine_json_is_named(name, built):
    file = built / "engine" / "engine.json"
    file.write_text("{")
    with pytest.raises(BundleError, match=r"engine\.json: is not the JSON of a bundle"):
        RUNTIMES[name].load(built, built / "engine")
    file.unlink()
    with pytest.raises(BundleError, match=r"engine\.json: cannot be read: No such file"):
        RUNTIMES[name].load(built, built / "engine")


@graph_runtime
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "1.0.1"}, r"engine was tuned with \w+ 1\.0\.1, this is \d"),
        ({"instruction_sets": ["neon"]}, "engine was tuned on a processor with other instruction sets"),
    ],
)
def test_an_engine_tuned_elsewhere_runs_with_default_settings_and_says_so(name, root, caplog, change, why):
    runtime, given = RUNTIMES[name], feeds(2, 9)
    default = runtime.load(root, root / "engine").describe()
    for configuration in runtime.configurations(ANY_X86):
        runtime.build(root / "model.onnx", root / "engine", method="fp32", configuration=configuration)
        edit(root / "engine" / "engine.json", **change)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "edgeattn"):
            session = runtime.load(root, root / "engine")
        (message,) = [record.getMessage() for record in caplog.records]
        assert re.fullmatch(f"{why}\\S*: running with default settings", message)
        assert session.describe() == {**default, "tuned_here": False}
        np.testing.assert_allclose(session.run(given)["sentence_embedding"], expected(given), atol=1e-5)


@graph_runtime
def test_a_graph_that_the_runtime_cannot_run_names_it_and_the_reason(name, root):
    tensors = [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["batch", 4]) for tensor in ("x", "y")]
    node = helper.make_node("NoSuchOperator", ["x"], ["y"])
    body = helper.make_graph([node], "strange", tensors[:1], tensors[1:])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), root / "model.onnx")
    with pytest.raises(BundleError, match=rf"{name} .* cannot load the graph: .*NoSuchOperator") as raised:
        RUNTIMES[name].load(root, root / "engine")
    assert raised.value.where == str(root / "model.onnx")
    assert raised.value.fix.startswith("compile the bundle again for a target with")


@every_runtime
def test_a_tampered_engine_or_graph_is_refused_when_the_bundle_is_opened(name, tmp_path):
    require(name)
    bundle = tiny_bundle.make(tmp_path / "whole", runtime=name).path
    Bundle.open(bundle)

    def refused(message, change, *, sign):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bundle, copy)
        change(copy)
        if sign:
            tiny_bundle.sign(copy)
        with pytest.raises(BundleError, match=message):
            Bundle.open(copy)

    def engine(**changes):
        return lambda copy: edit(copy / "engine" / "efficient" / "engine.json", **changes)

    def graph(**changes):
        return lambda copy: onnx.save(tiny_bundle.graph(**changes), copy / "model.onnx")

    refused("was changed|has .* bytes", engine(method="int8"), sign=False)
    refused("method: int8; bundle.json says fp32", engine(method="int8"), sign=True)
    refused(r"graph: dense\.onnx; bundle.json says model\.onnx", engine(graph="dense.onnx"), sign=True)
    refused("graph_sha256: sha256:[0-9a-f]+; bundle.json says", graph(seed=5), sign=True)
    if not RUNTIMES[name].compiles:
        refused("is not listed in bundle.json", engine(buckets=[{"length": 8, "graph": "other.onnx"}]), sign=True)
    refused("is missing", lambda copy: (copy / "engine" / "efficient" / "engine.json").unlink(), sign=True)
    refused("is not listed", lambda copy: (copy / "engine" / "efficient" / "more").write_text("x"), sign=True)


@every_runtime
def test_a_bundle_that_cannot_be_written_runs_and_stays_as_it_is(name, tmp_path):
    require(name, to_run=True)
    bundle = tiny_bundle.make(tmp_path / "bundle", runtime=name)
    before = {file: file.read_bytes() for file in bundle.path.rglob("*") if file.is_file()}
    for path in (bundle.path, *bundle.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    given = feeds(2, 9)
    found = RUNTIMES[name].load(bundle.path, bundle.path / "engine" / "efficient").run(given)
    np.testing.assert_allclose(found["sentence_embedding"], expected(given, dense=False), atol=1e-5)
    assert {file: file.read_bytes() for file in bundle.path.rglob("*") if file.is_file()} == before


@graph_runtime
def test_a_runtime_that_is_missing_or_broken_says_how_to_get_it(name, root, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DeviceError, match=rf"{name} \S+ cannot be imported: import of {name} halted"):
        RUNTIMES[name].load(root, root / "engine")
    monkeypatch.setattr("edgeattn.runtimes.graph_engine.library_version", lambda package: None)
    assert RUNTIMES[name].version() is None
    with pytest.raises(DeviceError, match=f"{name} is not installed") as raised:
        RUNTIMES[name].load(root, root / "engine")
    assert raised.value.fix == f"pip install 'edgeattn[{name}]'"


@every_runtime
def test_its_version_is_known_without_importing_it_and_it_never_imports_bench(name):
    program = (
        "import sys; from edgeattn.runtimes import RUNTIMES; runtime = RUNTIMES[sys.argv[1]]; runtime.version(); "
        "print(sys.argv[1] in sys.modules, [module for module in sys.modules if module.startswith('edgeattn.bench')])"
    )
    done = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, check=True)
    assert done.stdout == "False []\n"


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(InputError) as raised:
        RUNTIMES["onnxruntimes"]
    assert "did you mean 'onnxruntime'" in str(raised.value)
