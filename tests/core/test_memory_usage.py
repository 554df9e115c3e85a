from __future__ import annotations

import timeit
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.core.memory_limit import MemoryLimit, MemoryLimitReader, Source
from app.core.memory_usage import UsageReader, read_usage

MB = 1024 * 1024


class Limit(MemoryLimitReader):
    def __init__(self, source: Source, used_mb: int) -> None:
        super().__init__()
        self._limit = MemoryLimit(4096 * MB, used_mb * MB, (4096 - used_mb) * MB, source)

    def read(self) -> MemoryLimit:
        return self._limit


@pytest.mark.parametrize("source", ["cgroup1", "cgroup2"])
def test_in_a_cgroup_its_working_set_counts(source: Source) -> None:
    usage = UsageReader(Limit(source, 3000)).read()
    assert (usage.usage_mb, usage.total_mb) == (3000, 4096)
    assert usage.rss_mb == pytest.approx(psutil.Process().memory_info().rss / MB, rel=0.2)


def test_on_a_host_only_this_process_counts() -> None:
    usage = UsageReader(Limit("host", 3000)).read()
    assert usage.usage_mb == usage.rss_mb


def test_a_cgroup_that_does_not_say_its_usage_does_not_hide_ours() -> None:
    usage = UsageReader(Limit("cgroup2", 0)).read()
    assert usage.usage_mb == usage.rss_mb > 0


def test_the_real_figures_make_sense() -> None:
    usage = read_usage()
    assert 0 < usage.rss_mb < usage.total_mb
    assert 0 < usage.usage_mb <= usage.total_mb


def test_reading_is_fit_for_an_event_loop() -> None:
    """It takes as long as a few of the kernel's small files do, however quick the machine is."""

    def once(call: Callable[[], object]) -> float:
        return min(timeit.repeat(call, number=20, repeat=10))

    reader, small_file = UsageReader(), Path("/proc/self/statm")
    for read, files in ((reader.read, 12), (read_usage, 30)):
        assert once(read) < files * once(small_file.read_text)
