"""/proc and /sys of several machines, as their kernels write them."""

from __future__ import annotations

from pathlib import Path

_PI_5_CORE = """\
processor\t: {n}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1
"""

_SERVER_FLAGS = (
    "fpu sse sse2 ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c avx2 avx512f avx512dq "
    "avx512bw avx512vl avx512_vnni avx512_bf16 amx_bf16 avx512_fp16 amx_tile amx_int8 hypervisor"
)

_SERVER_CORE = """\
processor\t: {n}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
cpu MHz\t\t: 2699.998
physical id\t: {socket}
siblings\t: 4
core id\t\t: {core}
cpu cores\t: 2
flags\t\t: {flags}
"""


def write(root: Path, files: dict[str, str]) -> Path:
    """Writes `files`, path below root -> text, and returns root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def raspberry_pi_5(root: Path) -> Path:
    """Raspberry Pi 5, 8 GB, 64-bit Raspberry Pi OS, no container: no memory controller in its cgroup."""
    board = "Raspberry Pi 5 Model B Rev 1.0"
    files = {
        "proc/cpuinfo": "\n".join(_PI_5_CORE.format(n=n) for n in range(4))
        + f"\nRevision\t: d04170\nSerial\t\t: 0123456789abcdef\nModel\t\t: {board}\n",
        "proc/device-tree/model": f"{board}\0",
        "proc/meminfo": "MemTotal:        8249312 kB\nMemAvailable:    7654321 kB\n",
        "proc/loadavg": "0.52 0.58 0.59 1/234 5678\n",
        "proc/sys/kernel/osrelease": "6.12.20+rpt-rpi-2712\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-1.scope\n",
        "proc/self/mountinfo": "30 25 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        "proc/1/cgroup": "0::/init.scope\n",
        "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    }
    for n in range(4):
        cpu = f"sys/devices/system/cpu/cpu{n}"
        files[f"{cpu}/topology/physical_package_id"] = "0\n"
        files[f"{cpu}/topology/core_id"] = f"{n}\n"
        files[f"{cpu}/cpufreq/cpuinfo_max_freq"] = "2400000\n"
    for index, (level, kind, size) in enumerate(
        [(1, "Data", "64K"), (1, "Instruction", "64K"), (2, "Unified", "512K"), (3, "Unified", "2048K")]
    ):
        cache = f"sys/devices/system/cpu/cpu0/cache/index{index}"
        files |= {f"{cache}/level": f"{level}\n", f"{cache}/type": f"{kind}\n", f"{cache}/size": f"{size}\n"}
    return write(root, files)


def vnni_server(root: Path) -> Path:
    """Two sockets of two cores with two threads each, AVX512-VNNI and AMX; no cpufreq."""
    cores = [_SERVER_CORE.format(n=n, socket=n // 4, core=n % 2, flags=_SERVER_FLAGS) for n in range(8)]
    return write(
        root,
        {
            "proc/cpuinfo": "\n".join(cores) + "\n",
            "proc/meminfo": "MemTotal:       65536000 kB\nMemAvailable:   60000000 kB\n",
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        },
    )


def container_v2(root: Path) -> Path:
    """Docker with `--cpus 1.5 --memory 512m` on that server: its own cgroup namespace, no caches shown."""
    return write(
        vnni_server(root),
        {
            ".dockerenv": "",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": "536870912\n",
        },
    )


def nested_v2(root: Path) -> Path:
    """A pod of 2 CPUs and 1 GiB, a container in it of 4 CPUs and no memory limit, seen from the host."""
    pod = "sys/fs/cgroup/kubepods.slice/pod1"
    group = "/kubepods.slice/pod1/container1"
    return write(
        vnni_server(root),
        {
            "proc/self/cgroup": f"0::{group}\n",
            "proc/1/cgroup": f"0::{group}\n",
            f"{pod}/cpu.max": "200000 100000\n",
            f"{pod}/memory.max": "1073741824\n",
            f"{pod}/container1/cpu.max": "400000 100000\n",
            f"{pod}/container1/memory.max": "max\n",
        },
    )


def container_v1(root: Path) -> Path:
    """Docker on cgroup v1, host's cgroup namespace: the paths in /proc/self/cgroup are not below its mounts."""
    group = "/docker/8f3b"
    mount = "36 30 0:31 {group} /sys/fs/cgroup/{name} ro,nosuid master:11 - cgroup cgroup rw,{name}\n"
    return write(
        vnni_server(root),
        {
            "proc/self/cgroup": f"9:memory:{group}\n4:cpu,cpuacct:{group}\n1:name=systemd:{group}\n0::/\n",
            "proc/1/cgroup": f"9:memory:{group}\n",
            "proc/self/mountinfo": mount.format(group=group, name="cpu,cpuacct")
            + mount.format(group=group, name="memory"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
        },
    )
