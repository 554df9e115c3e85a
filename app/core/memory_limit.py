"""How much memory this process may use, and how much of it is used: from its cgroup (v2 or v1), or from the machine.

In a container the machine's figures say nothing: the kernel kills at the cgroup's limit. Groups above the process's own
may have limits too, and it is the smallest that counts. Sources: the kernel's ``admin-guide/cgroup-v2.rst`` and
``admin-guide/cgroup-v1/memory.rst``, ``cgroup_namespaces(7)`` and ``proc_pid_mountinfo(5)``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

Source = Literal["cgroup2", "cgroup1", "host"]

_CHUNK_BYTES = 1 << 16
_KIB = 1024


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The memory limit that holds for this process, at one moment; all sizes in bytes.

    Attributes:
        total_bytes: the effective limit, above zero: the smallest of the machine's memory and of the limits of every
            cgroup up the tree.
        used_bytes: the working set counted against that limit: usage less the file cache that the kernel drops before
            it kills, which is all that is inactive, and what is active beyond 64 MB; of the machine,
            ``MemTotal - MemAvailable``. 0 where a cgroup's usage cannot be read.
        available_bytes: the least that is left at any level: below each cgroup's limit, and ``MemAvailable`` of the
            machine; 0 or more.
        source: whose limit it is.
    """

    total_bytes: int
    used_bytes: int
    available_bytes: int
    source: Source


@dataclass(frozen=True, slots=True)
class _Files:
    """What a version of cgroups calls its files."""

    limits: tuple[str, ...]
    usage: str
    inactive: re.Pattern[bytes]
    active: re.Pattern[bytes]


# Above memory.high the kernel does not kill but reclaims and lets the process sleep, until it all but stands still: for
# whoever waits for an answer that is no better than a kill, so the smaller of high and max is the limit.
_FILES: dict[Source, _Files] = {
    "cgroup2": _Files(
        ("memory.max", "memory.high"),
        "memory.current",
        re.compile(rb"^inactive_file (\d+)$", re.M),
        re.compile(rb"^active_file (\d+)$", re.M),
    ),
    "cgroup1": _Files(
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        re.compile(rb"^total_inactive_file (\d+)$", re.M),
        re.compile(rb"^total_active_file (\d+)$", re.M),
    ),
}
# Files read or mapped twice are active, and the kernel drops those too before it kills; but only at the limit, where a
# service that turns work away below it never comes. What is left is the code that runs, which has to stay.
_KEPT_CACHE = 64 << 20
_HIERARCHICAL_LIMIT = re.compile(rb"^hierarchical_memory_limit (\d+)$", re.M)
_ROOT_ONLY = "cgroup.sane_behavior"  # a file that v1 has in the root of the whole hierarchy and nowhere else

_MEM_TOTAL = re.compile(rb"^MemTotal:\s*(\d+) kB$", re.M)
_MEM_AVAILABLE = re.compile(rb"^MemAvailable:\s*(\d+) kB$", re.M)
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


@dataclass(frozen=True, slots=True)
class _Mount:
    source: Source
    root: str  # the group of the hierarchy that is mounted
    point: str


_CUSTOMARY = (
    _Mount("cgroup2", "/", "/sys/fs/cgroup"),
    _Mount("cgroup2", "/", "/sys/fs/cgroup/unified"),
    _Mount("cgroup1", "/", "/sys/fs/cgroup/memory"),
)


@dataclass(frozen=True, slots=True)
class _Level:
    """The files of one group that is this process's own or above it."""

    source: Source
    limits: tuple[str, ...]
    usage: str
    stat: str
    top_of_more: bool  # groups that cannot be seen are above it, and its memory.stat knows their limits (v1 only)

    def limit(self) -> int | None:
        """The limit in bytes, or None."""
        found = [_number(_read(path)) for path in self.limits]
        if self.top_of_more:
            found.append(_match(_HIERARCHICAL_LIMIT, _read(self.stat)))
        return min((limit for limit in found if limit is not None and limit > 0), default=None)

    def used(self) -> int:
        """The working set in bytes: usage less the file cache that can be dropped."""
        usage = _number(_read(self.usage)) or 0
        stat, files = _read(self.stat), _FILES[self.source]
        inactive = _match(files.inactive, stat) or 0
        active = _match(files.active, stat) or 0
        return max(usage - inactive - max(active - _KEPT_CACHE, 0), 0)


class MemoryLimitReader:
    """Reads the limit again and again, and looks for the files only when the process has come into another group.

    Any thread may read: two at once only look for the files twice.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """Read nothing yet.

        Args:
            root: the folder that has ``proc`` and ``sys``.
        """
        self._root = str(root).rstrip("/")
        self._found: tuple[bytes | None, tuple[_Level, ...]] | None = None

    def read(self) -> MemoryLimit:
        """Say what the limit is now, and what is used and left of it.

        Files that are missing, unreadable or malformed are passed over. Takes 20 to 60 µs: a few small files of the
        kernel.

        Returns:
            The limit at this moment.
        """
        host_total, host_available = self._host()
        total, used, available = host_total, host_total - host_available, host_available
        source: Source = "host"
        for level in self._levels():
            limit = level.limit()
            if limit is None or limit >= host_total:
                continue
            working_set = level.used()
            available = min(available, max(limit - working_set, 0))
            if limit < total:
                total, used, source = limit, working_set, level.source
        return MemoryLimit(total, used, available, source)

    def _host(self) -> tuple[int, int]:
        """The machine's memory, and what is available of it, in bytes."""
        text = _read(f"{self._root}/proc/meminfo")
        total, available = _match(_MEM_TOTAL, text), _match(_MEM_AVAILABLE, text)
        if not total or available is None:  # no Linux, or one before 3.14
            memory = psutil.virtual_memory()
            return int(memory.total), int(memory.available)
        return total * _KIB, min(available, total) * _KIB

    def _levels(self) -> tuple[_Level, ...]:
        groups = _read(f"{self._root}/proc/self/cgroup")
        found = self._found
        if found is None or found[0] != groups:
            found = self._found = (groups, tuple(self._find(_parse_groups(groups or b""))))
        return found[1]

    def _find(self, groups: dict[Source, str]) -> Iterator[_Level]:
        mounts = list(_parse_mounts(_read(f"{self._root}/proc/self/mountinfo") or b"")) or _CUSTOMARY
        for source, group in groups.items():
            own = [mount for mount in mounts if mount.source == source]
            # A hierarchy may be mounted more than once: best where the group itself is seen, and the most above it.
            own.sort(key=lambda mount: (_below(group, mount.root) is None, len(mount.root)))
            for mount in own:
                if levels := self._walk(mount, group):
                    yield from levels
                    break

    def _walk(self, mount: _Mount, group: str) -> list[_Level]:
        """The levels from the group up to the mount's root, without those that have no limit file."""
        files = _FILES[mount.source]
        # Where the mount doesn't have the group, its root is the nearest to it that can be seen.
        parts = _below(group, mount.root) or []
        levels = []
        for depth in range(len(parts), -1, -1):
            folder = "/".join([self._root + mount.point.rstrip("/"), *parts[:depth]])
            limits = tuple(f"{folder}/{name}" for name in files.limits if _read(f"{folder}/{name}") is not None)
            if limits:
                more = mount.source == "cgroup1" and depth == 0 and _read(f"{folder}/{_ROOT_ONLY}") is None
                levels.append(_Level(mount.source, limits, f"{folder}/{files.usage}", f"{folder}/memory.stat", more))
        return levels


def read_memory_limit(root: Path = Path("/")) -> MemoryLimit:
    """Say how much memory this process may use, and how much is used and left.

    Looks for the cgroup's files each time; who asks often keeps a :class:`MemoryLimitReader`.

    Args:
        root: the folder that has ``proc`` and ``sys``.

    Returns:
        The limit at this moment. Files that are missing, unreadable or malformed are passed over.
    """
    return MemoryLimitReader(root).read()


def _parse_groups(text: bytes) -> dict[Source, str]:
    """The process's group in each hierarchy that may limit memory, from ``/proc/self/cgroup``.

    With a cgroup namespace it is relative to the namespace's root, and may begin with ``/..``. Where the text has no
    line that can be read, the root is taken: in a container that is its own group.
    """
    groups: dict[Source, str] = {}
    for line in os.fsdecode(text).split("\n"):
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not group.startswith("/"):
            continue
        if hierarchy == "0" and not controllers:
            groups["cgroup2"] = group
        elif "memory" in controllers.split(","):
            groups["cgroup1"] = group
    return groups or {"cgroup2": "/", "cgroup1": "/"}


def _parse_mounts(text: bytes) -> Iterator[_Mount]:
    """The mounts of cgroup v2, and of v1's memory controller, from ``/proc/self/mountinfo``."""
    for line in text.split(b"\n"):
        # 35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
        mount, _, filesystem = line.partition(b" - ")
        fields, kind = mount.split(b" "), filesystem.split(b" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        root, point = (os.fsdecode(_ESCAPE.sub(_unescape, field)) for field in fields[3:5])
        if kind[0] == b"cgroup2":
            yield _Mount("cgroup2", root, point)
        elif kind[0] == b"cgroup" and b"memory" in kind[2].split(b","):
            yield _Mount("cgroup1", root, point)


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])


def _below(group: str, root: str) -> list[str] | None:
    """The path of a group below a mount's root, part by part; None if the mount doesn't have it."""
    group_parts, root_parts = ([part for part in path.split("/") if part] for path in (group, root))
    parts = group_parts[len(root_parts) :]
    if group_parts[: len(root_parts)] != root_parts or ".." in parts:
        return None
    return parts


def _read(path: str) -> bytes | None:
    """All of a file; None if it cannot be read. Twice as fast as Path.read_bytes, and it is called often."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (OSError, ValueError):  # ValueError: a NUL in a malformed path
        return None
    try:
        chunks = []
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _number(text: bytes | None) -> int | None:
    """A whole number; None for "max", for nothing and for what is malformed."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _match(pattern: re.Pattern[bytes], text: bytes | None) -> int | None:
    found = pattern.search(text) if text is not None else None
    return _number(found[1]) if found else None
