"""A memory cgroup of its own for a measured process, v1 or v2: a limit, what is used of it, and who was killed.

The group is made below the one this process is in, so that whatever holds for us holds for the measured process too;
where v2 forbids that (no group may have both processes and children with controllers), it is made beside or above.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1024 * 1024

_PREFIX = "elocute-soak-"
_REMOVE_SECONDS = 5.0  # a group is busy for a moment after its last process has ended


class CgroupUnavailable(Exception):
    """No memory cgroup can be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where the memory controller is, and which group of it a process is in.

    Attributes:
        version: 1 or 2.
        top: the mount point.
        own: the process's own group, a folder at or below ``top``.
    """

    version: int
    top: Path
    own: Path


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group uses, in bytes.

    Attributes:
        total: everything that counts against the limit, page cache too.
        working_set: the same less the file cache that nobody has touched for a while, which the kernel gives up first.
    """

    total: int
    working_set: int


class MemoryCgroup:
    """A group with a memory limit; a context manager that removes it.

    Args:
        folder: the group's folder, which is there already.
        version: 1 or 2.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self.version = version

    def __enter__(self) -> MemoryCgroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def limit(self, size: int) -> None:
        """Set the limit in bytes; swap would only hide a leak, so there is none.

        Raises:
            OSError: the kernel refuses it.
        """
        if self.version == 2:
            self._write("memory.max", str(size))
            with contextlib.suppress(OSError):  # a kernel without swap accounting
                self._write("memory.swap.max", "0")
            return
        self._write("memory.limit_in_bytes", str(size))
        with contextlib.suppress(OSError):
            self._write("memory.memsw.limit_in_bytes", str(size))

    def command(self, command: list[str]) -> list[str]:
        """A command line that enters the group before it becomes ``command``, its process id unchanged."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def usage(self) -> Usage:
        """What the group uses now."""
        stat = _pairs(self.folder / "memory.stat")
        if self.version == 2:
            total = int(self._read("memory.current"))
            return Usage(total, max(0, total - stat.get("inactive_file", 0)))
        total = int(self._read("memory.usage_in_bytes"))
        return Usage(total, max(0, total - stat.get("total_inactive_file", 0)))

    def kills(self) -> int:
        """How many of the group's processes the kernel killed for want of memory."""
        return _pairs(self.folder / ("memory.events" if self.version == 2 else "memory.oom_control")).get("oom_kill", 0)

    def times_at_limit(self) -> int:
        """How often the group ran into its limit; reclaiming page cache counts too, so this alone is no failure."""
        if self.version == 2:
            return _pairs(self.folder / "memory.events").get("max", 0)
        return int(self._read("memory.failcnt"))

    def remove(self) -> None:
        """Remove the group, whose processes must have ended; one that is gone is fine."""
        deadline = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="ascii").strip()

    def _write(self, name: str, value: str) -> None:
        (self.folder / name).write_text(value, encoding="ascii")


def make_cgroup(limit: int, proc: Path = Path("/proc/self")) -> MemoryCgroup:
    """Make a group with a limit in bytes.

    Args:
        limit: in bytes.
        proc: the folder of the process below or beside whose group it is made.

    Raises:
        CgroupUnavailable: there is no memory controller, or no right to use it.
    """
    mount = find_mount(proc)
    reasons = []
    for parent in candidates(mount):
        try:
            _remove_left_over(parent)
            folder = parent / f"{_PREFIX}{os.getpid()}"
            folder.mkdir()
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
            continue
        group = MemoryCgroup(folder, mount.version)
        try:
            group.limit(limit)
            group.usage()
        except (OSError, ValueError) as error:
            reasons.append(f"{folder}: {error}")
            group.remove()
            continue
        return group
    detail = reasons[0] if reasons else f"the memory controller is not passed on anywhere in {mount.top}"
    raise CgroupUnavailable(f"{detail} (cgroup v{mount.version}{'' if os.geteuid() == 0 else '; this is not root'})")


def find_mount(proc: Path = Path("/proc/self")) -> Mount:
    """Where the memory controller of a process is; v1 wins where both versions are mounted and v1 has it.

    Raises:
        CgroupUnavailable: there is none.
    """
    try:
        groups = (proc / "cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (proc / "mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CgroupUnavailable(f"this system has no cgroups: {error}") from None
    paths: dict[int, str] = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            paths[1] = path
        elif not controllers:
            paths[2] = path
    for version in (1, 2):
        for line in mounts:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            is_it = kind == "cgroup" and "memory" in options.split(",") if version == 1 else kind == "cgroup2"
            if is_it and version in paths:
                root, point = left.split(" ")[3:5]
                inside = paths[version].removeprefix(root.rstrip("/"))  # a container's mount may begin further down
                own = Path(point) / inside.lstrip("/")
                return Mount(version, Path(point), own if own.is_dir() else Path(point))
    raise CgroupUnavailable("no memory controller is mounted")


def candidates(mount: Mount) -> Iterator[Path]:
    """Groups below which one can be made, the nearest first.

    Of v2 those that pass the memory controller on; the topmost is told to, where it does not.
    """
    chain = [mount.own, *(folder for folder in mount.own.parents if folder.is_relative_to(mount.top))]
    for folder in chain:
        if mount.version == 1:
            yield folder
            continue
        with contextlib.suppress(OSError):
            if folder == mount.top and "memory" in _words(folder / "cgroup.controllers"):
                (folder / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
        if "memory" in _words(folder / "cgroup.subtree_control"):
            yield folder


def _remove_left_over(parent: Path) -> None:
    """Remove empty groups of runs that were killed; one in use cannot be removed anyway."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []


def _pairs(file: Path) -> dict[str, int]:
    """The lines of ``name number`` in a file; empty where it is gone."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(number) for name, _, number in (line.partition(" ") for line in lines) if number.isdigit()}
