"""Whether a machine is the device of a profile, and which of its runtimes can be used there."""

from __future__ import annotations

import pytest

from edgeattn.devices import BoardFacts, CpuFacts, DeviceProfile, Machine, RuntimeSupport, load_device
from edgeattn.errors import DeviceError
from edgeattn.recognition import device_here, difference, require_release, usable_runtimes

PI = CpuFacts(model="Cortex-A76", cores=4, threads=4, instruction_sets=("neon", "asimddp"))
ORIN = CpuFacts(model="Cortex-A78AE (NVIDIA Jetson)", cores=4, instruction_sets=("neon", "asimdhp", "asimddp"))
PC = CpuFacts(model="Some CPU", instruction_sets=("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f"))


def device(probe=False, cpu=None, **versions: str | None) -> DeviceProfile:
    """A device with these runtimes: name -> min_version."""
    runtimes = tuple(
        RuntimeSupport(name=name, min_version=version, opset=(17, 21), methods=("fp32",))
        for name, version in (versions or {"onnxruntime": None}).items()
    )
    return DeviceProfile(name="board", description="A board.", runtimes=runtimes, probe=probe, cpu=cpu)


@pytest.mark.parametrize("version", ["1.20.0", "1.20", "1.32.0", "1.23.0+cu126", "1.100.1"])
def test_a_runtime_of_the_least_version_or_later_is_used(version):
    usable = usable_runtimes(device(onnxruntime="1.20"), {"onnxruntime": version})
    assert [support.name for support in usable] == ["onnxruntime"]


def test_an_older_runtime_is_refused_with_both_versions():
    with pytest.raises(
        DeviceError, match=r"no runtime for board: onnxruntime 1\.9\.2 is installed, 1\.20 or later is needed\n  fix:"
    ) as caught:
        usable_runtimes(device(onnxruntime="1.20"), {"onnxruntime": "1.9.2"})
    assert caught.value.exit_code == 4


def test_a_missing_and_an_unknown_runtime_are_both_named():
    with pytest.raises(DeviceError, match="this edgeattn has no runtime npu; onnxruntime is not installed"):
        usable_runtimes(device(npu="8.5", onnxruntime=None), {})


def test_all_usable_runtimes_are_kept_in_the_profile_s_order():
    installed = {"onnxruntime": "1.32.0", "openvino": "2026.4"}
    usable = usable_runtimes(device(npu="8.5", openvino="2025.0", onnxruntime="1.20"), installed)
    assert [support.name for support in usable] == ["openvino", "onnxruntime"]


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (device(probe=True), None),
        (device(cpu=PI), None),
        (device(cpu=CpuFacts(model="Cortex-A76")), None),
        (device(), "the profile states nothing to recognise it by"),
        (device(cpu=CpuFacts(max_mhz=2400)), "the profile states nothing to recognise it by"),
        (device(cpu=CpuFacts(model="Cortex-A7")), "its processor is Cortex-A76 here, Cortex-A7 there"),
        (device(cpu=CpuFacts(model="Cortex-A72")), "its processor is Cortex-A76 here, Cortex-A72 there"),
        (device(cpu=CpuFacts(model="Cortex-A76", cores=8)), "its cores are 4 here, 8 there"),
        (device(cpu=CpuFacts(instruction_sets=("neon", "sve", "i8mm"))), "its processor lacks i8mm, sve"),
    ],
)
def test_a_board_is_recognised_by_what_its_profile_states(profile, reason):
    assert difference(profile, Machine(PI, BoardFacts(), "aarch64")) == reason


def test_the_probe_adds_the_board_to_the_processor_s_name():
    pi = PI.model_copy(update={"model": "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)"})
    assert difference(device(cpu=CpuFacts(model="Cortex-A76")), Machine(pi, BoardFacts(), "aarch64")) is None


def jetson(module="p3767-0005", sm="8.7", modes=(), l4t="36.4.3", cpu=ORIN) -> Machine:
    return Machine(cpu, BoardFacts(module=module, sm=sm, power_modes=modes, l4t=l4t), "aarch64")


@pytest.mark.parametrize(
    ("name", "machine", "reason"),
    [
        ("jetson", jetson(), None),
        ("jetson", jetson(module=None), None),
        ("jetson", jetson(module="p3701-0008"), None),
        ("jetson", jetson(module="p3668-0000", sm="7.2"), "its GPU has compute capability 7.2 here, 8.7 there"),
        ("jetson", Machine(PI, BoardFacts(), "aarch64"), "it has no NVIDIA GPU that edgeattn can see"),
        ("jetson", Machine(PC, BoardFacts(), "x86_64"), "its architecture is x86_64 here, aarch64 there"),
        ("jetson-orin-nano-8gb", jetson(cpu=ORIN.model_copy(update={"cores": 2})), None),
        (
            "jetson-orin-nano-8gb",
            jetson(module="p3767-0004"),
            "its module is p3767-0004 here, p3767-0003 or p3767-0005 there",
        ),
        ("jetson-orin-nano-8gb", jetson(module=None), "its module is unknown here, p3767-0003 or p3767-0005 there"),
        ("jetson-xavier-nx", jetson(module="p3668-0001", sm="7.2"), None),
        ("rtx", Machine(PC, BoardFacts(gpus=("NVIDIA GeForce RTX 4090",)), "x86_64"), None),
        ("rtx", Machine(PC, BoardFacts(), "x86_64"), "it has no NVIDIA GPU that edgeattn can see"),
        (
            "dgx-spark",
            Machine(ORIN, BoardFacts(gpus=("NVIDIA GH200",)), "aarch64"),
            "its GPU has compute capability unknown here, 12.1 there",
        ),
        ("x86-avx2", Machine(PC, BoardFacts(), "x86_64"), None),
        ("x86-avx512vnni", Machine(PC, BoardFacts(), "x86_64"), "its processor lacks avx512_vnni, avx512bw, avx512vl"),
    ],
)
def test_a_shipped_profile_is_recognised_by_architecture_module_gpu_and_processor(name, machine, reason):
    assert difference(load_device(name), machine) == reason


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (jetson(modes=("15W", "7W")), "jetson-orin-nano-8gb"),
        (jetson(modes=("15W", "25W", "MAXN_SUPER")), "jetson-orin-nano-super"),
        (jetson(modes=("15W", "25W", "MAXN_SUPER", "7W")), "jetson-orin-nano-super"),
        (jetson(), "jetson-orin-nano-8gb"),  # modes unknown: the slower one
        (jetson("p3767-0000", modes=("MAXN", "10W", "15W", "25W")), "jetson-orin-nx-16gb"),
        (jetson("p3767-0000", modes=("MAXN_SUPER", "10W", "15W", "25W", "40W")), "jetson-orin-nx-16gb-super"),
        (jetson("p3767-0001", modes=("MAXN_SUPER", "10W", "15W", "20W", "40W")), "jetson-orin-nx-8gb-super"),
        (jetson("p3701-0008"), "jetson"),  # an Orin without a profile of its own
        (jetson("p3834-0008", sm="11.0"), "jetson-thor-t5000"),
        (Machine(PC, BoardFacts(), "x86_64"), "x86-avx2"),
        (Machine(PC, BoardFacts(gpus=("NVIDIA GeForce RTX 4090",)), "x86_64"), "rtx"),
        (Machine(ORIN.model_copy(update={"cores": 20}), BoardFacts(sm="12.1"), "aarch64"), "dgx-spark"),
        (Machine(PI.model_copy(update={"instruction_sets": ("neon", "asimdhp", "asimddp")}), BoardFacts(), "aarch64"),
         "raspberry-pi-5"),
        (Machine(CpuFacts(instruction_sets=("neon",)), BoardFacts(), "aarch64"), "arm64"),
        (Machine(CpuFacts(), BoardFacts(), "riscv64"), None),
    ],
)  # fmt: skip
def test_the_profile_that_says_most_of_a_machine_is_its_device(machine, name):
    found = device_here(machine)
    assert (found and found.name) == name


def test_a_jetpack_that_the_profile_does_not_know_is_refused_with_both_versions():
    with pytest.raises(
        DeviceError,
        match=r"orin has L4T 34\.1\.1, which jetson does not know; it knows 35\.2 to 35\.6 "
        r"\(JetPack 5\.1 to 5\.1\.6\), "
        r"36\.3 \(JetPack 6\.0\), 36\.4 to 36\.5 \(JetPack 6\.1 to 6\.2\.2\), 39 \(JetPack 7\.2\)\n"
        r"  fix: install one of these JetPack releases there, or give --target a profile of your own that extends",
    ) as caught:
        require_release(load_device("jetson"), BoardFacts(l4t="34.1.1"), "orin")
    assert caught.value.exit_code == 4
    with pytest.raises(DeviceError, match=r"which jetson-xavier-nx does not know; it knows 35\.2 to 35\.6"):
        require_release(load_device("jetson-xavier-nx"), BoardFacts(l4t="36.4.3"), "orin")


@pytest.mark.parametrize("l4t", ["35.2.1", "35.6.4", "36.3.0", "36.4", "36.5.0", "39.2", None])
def test_a_jetpack_that_the_profile_knows_or_cannot_see_is_not(l4t):
    require_release(load_device("jetson"), BoardFacts(l4t=l4t), "orin")
    require_release(load_device("raspberry-pi-5"), BoardFacts(l4t=l4t), "pi")
