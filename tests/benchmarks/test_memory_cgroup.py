"""The cgroup that a soak runs in: found on made-up trees of both kinds, and real where this machine lets us."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.memory_cgroup import (
    MEGABYTE,
    CgroupUnavailable,
    MemoryCgroup,
    Mount,
    candidates,
    find_mount,
    make_cgroup,
)

V1 = "35 31 0:32 {root} {top} rw,relatime shared:9 - cgroup cgroup rw,memory\n"
V2 = "41 31 0:38 {root} {top} rw,relatime - cgroup2 cgroup2 rw\n"
OTHER = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"


def make_proc(folder: Path, groups: str, mounts: str) -> Path:
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups, encoding="utf-8")
    (proc / "mountinfo").write_text(mounts, encoding="utf-8")
    return proc


def make_group(folder: Path, controllers: str = "", passed_on: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "cgroup.controllers").write_text(controllers, encoding="ascii")
    (folder / "cgroup.subtree_control").write_text(passed_on, encoding="ascii")
    return folder


def test_version_1_is_found_beside_an_empty_version_2(tmp_path: Path) -> None:
    top = tmp_path / "memory"
    (top / "jobs" / "a").mkdir(parents=True)
    mounts = OTHER + V2.format(root="/", top=tmp_path) + V1.format(root="/", top=top)
    proc = make_proc(tmp_path, "4:memory:/jobs/a\n1:cpu:/\n0::/\n", mounts)
    assert find_mount(proc) == Mount(1, top, top / "jobs" / "a")


def test_version_2_is_found_alone(tmp_path: Path) -> None:
    own = make_group(tmp_path / "top" / "user.slice" / "shell.scope")
    proc = make_proc(tmp_path, "0::/user.slice/shell.scope\n", OTHER + V2.format(root="/", top=tmp_path / "top"))
    assert find_mount(proc) == Mount(2, tmp_path / "top", own)


def test_a_container_s_mount_begins_at_its_own_group(tmp_path: Path) -> None:
    top = tmp_path / "memory"
    top.mkdir()
    proc = make_proc(tmp_path, "4:memory:/docker/abc\n", V1.format(root="/docker/abc", top=top))
    assert find_mount(proc) == Mount(1, top, top)


def test_no_controller_is_said(tmp_path: Path) -> None:
    with pytest.raises(CgroupUnavailable, match="no memory controller"):
        find_mount(make_proc(tmp_path, "1:cpu:/\n", OTHER))
    with pytest.raises(CgroupUnavailable, match="no cgroups"):
        find_mount(tmp_path / "nowhere")


def test_version_2_goes_up_to_where_the_controller_is_passed_on(tmp_path: Path) -> None:
    top = make_group(tmp_path / "top", "memory pids", "memory pids")
    middle = make_group(top / "user.slice", "memory pids", "memory pids")
    own = make_group(middle / "shell.scope", "memory pids")
    (top / "cgroup.controllers").write_text("pids", encoding="ascii")  # nothing to be switched on at the top
    assert list(candidates(Mount(2, top, own))) == [middle, top]


def test_version_2_switches_the_controller_on_at_the_top_alone(tmp_path: Path) -> None:
    top = make_group(tmp_path / "top", "memory")
    own = make_group(top / "shell", "memory")
    list(candidates(Mount(2, top, own)))
    assert (top / "cgroup.subtree_control").read_text(encoding="ascii") == "+memory"
    assert not (own / "cgroup.subtree_control").read_text(encoding="ascii")


@pytest.mark.parametrize(
    ("version", "files", "total"),
    [
        (
            2,
            {
                "memory.current": "1000",
                "memory.stat": "anon 600\ninactive_file 300\n",
                "memory.events": "low 0\nmax 7\noom 3\noom_kill 2\n",
            },
            1000,
        ),
        (
            1,
            {
                "memory.usage_in_bytes": "1000",
                "memory.stat": "inactive_file 5\ntotal_inactive_file 300\n",
                "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
                "memory.failcnt": "7",
            },
            1000,
        ),
    ],
)
def test_usage_and_kills_are_read(tmp_path: Path, version: int, files: dict[str, str], total: int) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(f"{content}\n", encoding="ascii")
    group = MemoryCgroup(tmp_path, version)
    usage = group.usage()
    assert (usage.total, usage.working_set) == (total, 700)
    assert group.kills() == 2
    assert group.times_at_limit() == 7


@pytest.fixture
def group() -> Iterator[MemoryCgroup]:
    try:
        made = make_cgroup(64 * MEGABYTE)
    except CgroupUnavailable as error:
        pytest.skip(str(error))
    with made:
        yield made
    assert not made.folder.exists()


def run_in(group: MemoryCgroup, megabytes: int) -> int:
    code = f"held = bytearray({megabytes} << 20); print(open('/proc/self/cgroup').read())"
    done = subprocess.run(group.command([sys.executable, "-c", code]), capture_output=True, text=True, check=False)
    assert done.returncode or group.folder.name in done.stdout
    return done.returncode


def test_a_real_group_kills_who_goes_over_the_limit_and_no_other(group: MemoryCgroup) -> None:
    assert run_in(group, 8) == 0
    assert group.kills() == 0
    assert run_in(group, 128) == -9
    assert group.kills() == 1
    assert 0 <= group.usage().working_set <= group.usage().total <= 64 * MEGABYTE
