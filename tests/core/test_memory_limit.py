from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.memory_limit import MemoryLimit, MemoryLimitReader, read_memory_limit

GB = 1 << 30
MB = 1 << 20
NO_LIMIT_V1 = "9223372036854771712"
HOST = MemoryLimit(total_bytes=16 * GB, used_bytes=4 * GB, available_bytes=12 * GB, source="host")
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


class Machine:
    """A made-up root folder of a machine with 16 GB, 12 of them available."""

    def __init__(self, root: Path) -> None:
        self.root = root
        kilobytes = {"MemTotal": 16 * GB, "MemFree": 2 * GB, "MemAvailable": 12 * GB}
        self.write("proc/meminfo", "".join(f"{name}:   {size // 1024} kB\n" for name, size in kilobytes.items()))

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def process(self, cgroup: str, mountinfo: str) -> None:
        self.write("proc/self/cgroup", cgroup)
        self.write("proc/self/mountinfo", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n" + mountinfo)

    def v2(self, folder: str, limit: int | str, used: int = 0, cache: int = 0, high: int | str = "max") -> None:
        self.write(f"{folder}/memory.max", f"{limit}\n")
        self.write(f"{folder}/memory.high", f"{high}\n")
        self.write(f"{folder}/memory.current", f"{used + cache}\n")
        self.write(f"{folder}/memory.stat", f"anon {used}\nfile {cache}\nactive_file 77\ninactive_file {cache}\n")

    def v1(self, folder: str, limit: int | str, used: int = 0, cache: int = 0, hierarchical: int | str = "") -> None:
        self.write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{folder}/memory.usage_in_bytes", f"{used + cache}\n")
        stat = f"inactive_file 3\nhierarchical_memory_limit {hierarchical or limit}\ntotal_inactive_file {cache}\n"
        self.write(f"{folder}/memory.stat", stat)

    def limit(self) -> MemoryLimit:
        return read_memory_limit(self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_a_cgroup_it_is_the_machine(machine: Machine) -> None:
    assert machine.limit() == HOST


def test_a_container_with_a_namespace_of_its_own_v2(machine: Machine) -> None:
    machine.process("0::/\n", V2_MOUNT)
    machine.v2("sys/fs/cgroup", 4 * GB, used=GB, cache=2 * GB)
    assert machine.limit() == MemoryLimit(4 * GB, GB, 3 * GB, "cgroup2")


def test_a_container_without_a_namespace_of_its_own_v1(machine: Machine) -> None:
    machine.process(
        "4:cpu,cpuacct:/docker/ab12\n3:memory:/docker/ab12\n1:name=systemd:/docker/ab12\n",
        "34 31 0:31 /docker/ab12 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
        + V1_MOUNT.replace(" / ", " /docker/ab12 ", 1),
    )
    machine.v1("sys/fs/cgroup/memory", 4 * GB, used=GB, cache=2 * GB)
    assert machine.limit() == MemoryLimit(4 * GB, GB, 3 * GB, "cgroup1")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_smallest_limit_up_the_tree_wins(machine: Machine, version: str) -> None:
    group, mount, make = _version(machine, version)
    base = mount.split()[4].lstrip("/")
    machine.process(f"{group}:/a/b/c\n", mount)
    make(f"{base}/a", 8 * GB, used=5 * GB)
    make(f"{base}/a/b", 2 * GB, used=GB, cache=500 * MB)
    make(f"{base}/a/b/c", 3 * GB, used=200 * MB)
    make(f"{base}/other", MB)
    make(f"{base}/a/b/c/below", MB)
    found = machine.limit()
    assert (found.total_bytes, found.used_bytes, found.available_bytes) == (2 * GB, GB, GB)
    assert found.source == {"v1": "cgroup1", "v2": "cgroup2"}[version]


def test_what_is_left_is_the_least_of_any_level(machine: Machine) -> None:
    machine.process("0::/pod/app\n", V2_MOUNT)
    machine.v2("sys/fs/cgroup/pod/app", 2 * GB, used=GB)
    machine.v2("sys/fs/cgroup/pod", 8 * GB, used=8 * GB - 100 * MB)
    assert machine.limit() == MemoryLimit(2 * GB, GB, 100 * MB, "cgroup2")
    machine.v2("sys/fs/cgroup/pod", 8 * GB, used=9 * GB)
    assert machine.limit().available_bytes == 0
    machine.v2("sys/fs/cgroup/pod", "max", used=9 * GB)
    assert machine.limit().available_bytes == GB
    machine.write("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 1024 kB\n")
    assert machine.limit() == MemoryLimit(2 * GB, GB, MB, "cgroup2")


@pytest.mark.parametrize("limit", [NO_LIMIT_V1, "-1", str(16 * GB), str(20 * GB), "0", "", "max", "4 GB", "9" * 5000])
def test_limits_that_are_none(machine: Machine, limit: str) -> None:
    machine.process("3:memory:/\n0::/\n", V1_MOUNT + V2_MOUNT)
    machine.v1("sys/fs/cgroup/memory", limit, used=9 * GB)
    machine.v2("sys/fs/cgroup", limit, used=9 * GB)
    assert machine.limit() == HOST


@pytest.mark.parametrize(("limit", "high"), [("max", 3 * GB), (4 * GB, 3 * GB), (3 * GB, "max"), (3 * GB, 4 * GB)])
def test_a_process_that_is_throttled_is_at_its_limit(machine: Machine, limit: int | str, high: int | str) -> None:
    machine.process("0::/\n", V2_MOUNT)
    machine.v2("sys/fs/cgroup", limit, used=GB, high=high)
    assert machine.limit() == MemoryLimit(3 * GB, GB, 2 * GB, "cgroup2")


def test_a_hybrid_machine_has_its_limits_in_v1(machine: Machine) -> None:
    unified = V2_MOUNT.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    machine.process("4:memory:/job\n1:cpu:/\n0::/job\n", unified + V1_MOUNT)
    machine.write("sys/fs/cgroup/unified/job/cgroup.procs", "")
    machine.v1("sys/fs/cgroup/memory", NO_LIMIT_V1, used=9 * GB)
    machine.v1("sys/fs/cgroup/memory/job", 2 * GB, used=GB)
    assert machine.limit() == MemoryLimit(2 * GB, GB, GB, "cgroup1")


def test_v1_knows_of_limits_above_what_can_be_seen(machine: Machine) -> None:
    machine.process("3:memory:/kubepods/pod1/c1\n", V1_MOUNT.replace(" / ", " /kubepods/pod1/c1 ", 1))
    machine.v1("sys/fs/cgroup/memory", NO_LIMIT_V1, used=GB, hierarchical=4 * GB)
    assert machine.limit() == MemoryLimit(4 * GB, GB, 3 * GB, "cgroup1")


def test_a_mount_elsewhere_with_blanks_in_its_path(machine: Machine) -> None:
    machine.process("0::/a b:c\\d/leaf\n", V2_MOUNT.replace(" / /sys/fs/cgroup ", " /a\\040b:c\\134d /mnt/c\\040g "))
    machine.v2("mnt/c g/leaf", 2 * GB)
    assert machine.limit().total_bytes == 2 * GB


def test_of_several_mounts_the_one_that_shows_most(machine: Machine) -> None:
    mounts = ("/x/y", "/sys/fs/cgroup"), ("/", "/host/cgroup"), ("/other", "/mnt/other")
    machine.process("0::/x/y\n", "".join(V2_MOUNT.replace(" / /sys/fs/cgroup ", f" {a} {b} ") for a, b in mounts))
    machine.v2("sys/fs/cgroup", 4 * GB)
    machine.v2("mnt/other", MB)
    assert machine.limit().total_bytes == 4 * GB, "the host's is not there after all"
    machine.v2("host/cgroup/x/y", 4 * GB)
    machine.v2("host/cgroup/x", 3 * GB)
    assert machine.limit().total_bytes == 3 * GB


@pytest.mark.parametrize(
    ("group", "root"), [("/gone (deleted)", "/"), ("/../sibling", "/"), ("/own", "/.."), ("/host/path", "/docker/ab")]
)
def test_a_group_that_the_mount_does_not_show_leaves_what_it_does(machine: Machine, group: str, root: str) -> None:
    machine.process(f"0::{group}\n", V2_MOUNT.replace(" / ", f" {root} ", 1))
    machine.v2("sys/fs/cgroup", 4 * GB)
    machine.v2("sys/fs/sibling", MB)
    assert machine.limit().total_bytes == 4 * GB


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("mountinfo", [None, "", "garbage - cgroup2\n"])
def test_without_mountinfo_the_customary_paths(machine: Machine, version: str, mountinfo: str | None) -> None:
    group, mount, make = _version(machine, version)
    machine.write("proc/self/cgroup", f"{group}:/job\n")
    if mountinfo is not None:
        machine.write("proc/self/mountinfo", mountinfo)
    make(f"{mount.split()[4].lstrip('/')}/job", 2 * GB)
    assert machine.limit().total_bytes == 2 * GB


def test_without_the_process_s_group_the_top(machine: Machine) -> None:
    machine.v2("sys/fs/cgroup", 4 * GB)
    assert machine.limit().total_bytes == 4 * GB


def test_a_limit_without_its_usage_is_still_a_limit(machine: Machine) -> None:
    machine.process("0::/\n", V2_MOUNT)
    machine.write("sys/fs/cgroup/memory.max", str(4 * GB))
    assert machine.limit() == MemoryLimit(4 * GB, 0, 4 * GB, "cgroup2")
    (machine.root / "sys/fs/cgroup/memory.current").mkdir()
    assert machine.limit().total_bytes == 4 * GB, "a folder is passed over too"


def test_a_machine_without_meminfo_has_memory_all_the_same(tmp_path: Path) -> None:
    found = read_memory_limit(tmp_path)
    assert found.source == "host"
    assert 0 < found.available_bytes < found.total_bytes
    assert found.used_bytes == found.total_bytes - found.available_bytes


def test_a_reader_sees_new_figures_and_new_groups(machine: Machine) -> None:
    machine.process("0::/a\n", V2_MOUNT)
    machine.v2("sys/fs/cgroup/a", 4 * GB, used=GB)
    machine.v2("sys/fs/cgroup/b", 2 * GB)
    reader = MemoryLimitReader(machine.root)
    assert reader.read() == MemoryLimit(4 * GB, GB, 3 * GB, "cgroup2")
    machine.v2("sys/fs/cgroup/a", 3 * GB, used=2 * GB)
    assert reader.read() == MemoryLimit(3 * GB, 2 * GB, GB, "cgroup2")
    machine.process("0::/b\n", V2_MOUNT)
    assert reader.read().total_bytes == 2 * GB


_LINES = st.lists(
    st.sampled_from([b"0::/", b"0::/a/../..", b"3:memory:/a", b":::", V1_MOUNT.encode(), V2_MOUNT.encode()])
    | st.sampled_from([b"MemTotal: 0 kB", b"MemTotal: 7 kB", b"MemAvailable: 99 kB", b"inactive_file 9", b"max", b"-5"])
    | st.integers().map(lambda number: str(number).encode())
    | st.binary(max_size=30),
    max_size=5,
).map(b"\n".join)
_PATHS = [
    *("proc/meminfo", "proc/self/cgroup", "proc/self/mountinfo"),
    *(f"sys/fs/cgroup/memory.{name}" for name in ("max", "high", "current", "stat")),
    *(f"sys/fs/cgroup/memory/memory.{name}" for name in ("limit_in_bytes", "usage_in_bytes", "stat")),
]


@given(st.dictionaries(st.sampled_from(_PATHS), _LINES))
@example({"proc/self/cgroup": b"0::/a\0b", "proc/self/mountinfo": V2_MOUNT.encode()})
@example({"proc/self/mountinfo": b"1 1 0:1 /\\377 /sys\\000 rw - cgroup2 cgroup2 rw"})
@example({"proc/meminfo": b"MemTotal: " + b"9" * 5000 + b" kB\nMemAvailable: 1 kB"})
def test_no_content_of_any_file_is_an_error(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        found = read_memory_limit(Path(folder))
    assert found.total_bytes > 0
    assert found.used_bytes >= 0
    assert 0 <= found.available_bytes <= found.total_bytes


def test_a_process_in_a_real_cgroup() -> None:
    """A process of its own is put into a group of its own, within this process's one where it can have any."""
    code = """
import dataclasses, json
from app.core.memory_limit import read_memory_limit
input()
before = read_memory_limit()
block = bytearray(b"x") * (64 << 20)
after = read_memory_limit()
print(json.dumps([dataclasses.asdict(found) for found in (before, after)]))
"""
    with _real_group(512 * MB) as (group, source):
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_REPOSITORY) as child:
            try:
                (group / "cgroup.procs").write_text(str(child.pid), encoding="ascii")
                output, _ = child.communicate(b"\n", timeout=30)
            finally:
                child.kill()
        before, after = json.loads(output)
    assert before["total_bytes"] == after["total_bytes"] == 512 * MB
    assert before["source"] == after["source"] == source
    assert 60 * MB < after["used_bytes"] - before["used_bytes"] < 80 * MB
    assert after["available_bytes"] == 512 * MB - after["used_bytes"]


_REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def _real_group(limit: int) -> Iterator[tuple[Path, str]]:
    """A group of this machine with a limit; the test is skipped where none can be made."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root makes cgroups")
    made = ((_make_group(parent, file, limit), source) for parent, file, source in _possible_parents())
    group, source = next(((group, source) for group, source in made if group), (None, ""))
    if group is None:
        pytest.skip("no writable cgroup with a memory controller")
    try:
        yield group, source
    finally:
        group.rmdir()


def _make_group(parent: Path, file: str, limit: int) -> Path | None:
    group = parent / f"elocute-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError:
        return None
    try:
        (group / file).write_text(str(limit), encoding="ascii")
    except OSError:
        group.rmdir()
        return None
    return group


def _possible_parents() -> Iterator[tuple[Path, str, str]]:
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            top = Path("/sys/fs/cgroup/memory")
            for parent in (top / path.lstrip("/"), top):
                yield parent, "memory.limit_in_bytes", "cgroup1"
        elif not controllers:
            top = Path("/sys/fs/cgroup")
            own = top / path.lstrip("/")
            for parent in (own, *own.parents):  # a v2 group with processes can't pass its memory controller on
                if parent.is_relative_to(top) and (parent / "cgroup.subtree_control").is_file():
                    yield parent, "memory.max", "cgroup2"


def _version(machine: Machine, version: str) -> tuple[str, str, Callable[..., None]]:
    if version == "v1":
        return "3:memory", V1_MOUNT, machine.v1
    return "0:", V2_MOUNT, machine.v2


@pytest.mark.parametrize(("active", "used"), [(0, 300), (50, 300), (64, 300), (164, 200)])
def test_active_file_cache_beyond_the_code_that_runs_is_no_usage(tmp_path: Path, active: int, used: int) -> None:
    """The kernel drops it too, but only at the limit, where a service that sheds load below it never comes."""
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n", encoding="ascii")
    mount = "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mount, encoding="ascii")
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable: 8888888 kB\n", encoding="ascii")
    (group / "memory.max").write_text(str(512 << 20), encoding="ascii")
    (group / "memory.current").write_text(str(400 << 20), encoding="ascii")
    stat = f"inactive_file {100 << 20}\nactive_file {active << 20}\n"
    (group / "memory.stat").write_text(stat, encoding="ascii")
    limit = read_memory_limit(tmp_path)
    assert limit.source == "cgroup2"
    assert limit.used_bytes == used << 20
