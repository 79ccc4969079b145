from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeattn.devices import machine_facts, probe_cpu, usable_cores, usable_memory_bytes
from edgeattn.devices.cgroup import Limits, limits
from tests.devices import machines


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def allow(count: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)))

    return allow


def test_a_raspberry_pi_5_is_told_by_its_part_number_and_board(tmp_path: Path) -> None:
    cpu = probe_cpu(machines.raspberry_pi_5(tmp_path))

    assert cpu.model == "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)"
    assert (cpu.cores, cpu.threads, cpu.max_mhz) == (4, 4, 2400)
    assert cpu.instruction_sets == ("neon", "asimdhp", "asimddp")
    assert cpu.caches_bytes == {"L1d": 65536, "L1i": 65536, "L2": 524288, "L3": 2097152}


def test_a_server_has_its_vector_extensions_and_what_it_hides_is_unknown(tmp_path: Path) -> None:
    cpu = probe_cpu(machines.vnni_server(tmp_path))

    assert cpu.model == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert (cpu.cores, cpu.threads) == (4, 8)
    assert {"avx2", "avx512f", "avx512_vnni", "amx_int8"} <= set(cpu.instruction_sets)
    assert "avx_vnni" not in cpu.instruction_sets
    assert cpu.max_mhz is None  # the clock of the moment in /proc/cpuinfo is not it
    assert cpu.caches_bytes == {}


def test_an_extension_counts_only_if_every_core_has_it(tmp_path: Path) -> None:
    root = machines.raspberry_pi_5(tmp_path)
    cpuinfo = root / "proc/cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text().replace(" asimddp", "", 1))

    assert probe_cpu(root).instruction_sets == ("neon", "asimdhp")


def test_a_machine_that_shows_nothing_is_all_unknown(tmp_path: Path) -> None:
    cpu = probe_cpu(tmp_path)

    assert cpu.model is cpu.cores is cpu.threads is cpu.max_mhz is None
    assert usable_memory_bytes(tmp_path) is None
    assert limits(tmp_path) == Limits(cpus=None, memory_bytes=None)
    assert json.loads(json.dumps(machine_facts(tmp_path)))["load_average"] is None


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (machines.raspberry_pi_5, Limits(None, None)),
        (machines.vnni_server, Limits(None, None)),
        (machines.container_v2, Limits(1.5, 512 * 2**20)),
        (machines.nested_v2, Limits(2.0, 2**30)),
        (machines.container_v1, Limits(0.5, 256 * 2**20)),
    ],
)
def test_the_tightest_limit_of_the_control_groups_counts(
    machine: Callable[[Path], Path], expected: Limits, tmp_path: Path
) -> None:
    assert limits(machine(tmp_path)) == expected


def test_cgroup_v1_without_a_limit_has_none(tmp_path: Path) -> None:
    root = machines.write(
        machines.container_v1(tmp_path),
        {
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )

    assert limits(root) == Limits(None, None)


def test_usable_cores_are_the_lesser_of_affinity_and_quota(tmp_path: Path, affinity: Callable[[int], None]) -> None:
    root = machines.container_v2(tmp_path)

    affinity(8)
    assert usable_cores(root) == 1.5
    affinity(1)
    assert usable_cores(root) == 1.0


def test_usable_memory_is_the_lesser_of_installed_and_limit(tmp_path: Path) -> None:
    assert usable_memory_bytes(machines.container_v2(tmp_path / "limited")) == 512 * 2**20
    assert usable_memory_bytes(machines.raspberry_pi_5(tmp_path / "pi")) == 8249312 * 1024


def test_machine_facts_record_the_machine_and_the_container(tmp_path: Path, affinity: Callable[[int], None]) -> None:
    affinity(4)
    pi = machine_facts(machines.raspberry_pi_5(tmp_path / "pi"))
    pod = machine_facts(machines.nested_v2(tmp_path / "pod"))

    assert pi["container"] is False
    assert pi["governor"] == "ondemand"
    assert pi["kernel"] == "6.12.20+rpt-rpi-2712"
    assert pi["load_average"] == [0.52, 0.58, 0.59]
    assert pi["cores_usable"] == 4.0
    assert pi["memory_limit_bytes"] is None
    assert pod["container"] is True
    assert pod["cores_usable"] == pod["cpu_quota"] == 2.0
    assert pod["memory_limit_bytes"] == 2**30


@pytest.mark.parametrize("machine", [machines.container_v2, machines.container_v1, machines.nested_v2])
def test_docker_of_both_kinds_and_a_pod_are_seen_as_containers(machine: Callable[[Path], Path], tmp_path: Path) -> None:
    assert machine_facts(machine(tmp_path))["container"] is True


def test_this_machine_can_be_probed() -> None:
    facts = machine_facts()

    assert facts["cores_usable"] > 0
    assert facts["memory_bytes"] > 0
    json.dumps(facts, allow_nan=False)


def test_files_of_sysctl_are_read() -> None:
    """Linux answers ENOMEM to a read of 4 MiB there."""
    assert machine_facts(Path("/"))["kernel"] == platform.release()
