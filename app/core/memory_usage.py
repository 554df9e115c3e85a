"""The memory in use that counts against the limit."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.memory_limit import MemoryLimitReader
from app.core.memory_utils import MB, rss_mb


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory in use, in MB of 1024 * 1024 bytes.

    Attributes:
        usage_mb: what counts against the thresholds: the working set of the cgroup where one limits us, which is what
            the kernel kills by; the RSS of this process on a plain host, where others' memory is not ours to shed for.
        rss_mb: resident set size of this process.
        total_mb: the effective limit.
    """

    usage_mb: float
    rss_mb: float
    total_mb: float


class UsageReader:
    """Reads the usage again and again; any thread may."""

    def __init__(self, limit: MemoryLimitReader | None = None) -> None:
        """Read nothing yet.

        Args:
            limit: reads the limit; the one of this machine where left out.
        """
        self._limit = MemoryLimitReader() if limit is None else limit

    def read(self) -> Usage:
        """Read the memory in use now: some 40 µs for a few small files of the kernel, so fit for an event loop."""
        limit = self._limit.read()
        rss = rss_mb()
        # 0 stands for a cgroup whose usage cannot be read.
        used = rss if limit.source == "host" else limit.used_bytes / MB or rss
        return Usage(used, rss, limit.total_bytes / MB)


def read_usage() -> Usage:
    """Read the memory in use now, once; who asks often keeps a :class:`UsageReader`."""
    return UsageReader().read()
