"""Memory is given back when nobody needs it, and under load only when too much has gathered."""

from __future__ import annotations

import threading
import time

from app.core.heap_trimmer import SLACK_MB, HeapTrimmer


class Heap:
    """An RSS that a test sets, and how often it was trimmed."""

    def __init__(self, idle_seconds: float = 0.0, total_mb: float = 4096) -> None:
        self.rss = 100.0
        self.trims = 0
        self.trimmer = HeapTrimmer(total_mb, trim=self._trim, rss=lambda: self.rss, idle_seconds=idle_seconds)

    def _trim(self) -> None:
        self.trims += 1


def test_an_idle_heap_is_trimmed_and_a_busy_one_is_not() -> None:
    heap = Heap()
    assert heap.trimmer.run(urgent=False)
    heap.trimmer.busy()
    assert not heap.trimmer.run(urgent=False)
    heap.trimmer.idle()
    assert heap.trimmer.run(urgent=False)
    assert heap.trims == 2


def test_under_load_it_is_trimmed_when_more_than_the_slack_has_gathered() -> None:
    heap = Heap()
    heap.trimmer.run(urgent=True)
    heap.trimmer.busy()
    heap.rss += SLACK_MB
    assert not heap.trimmer.run(urgent=False)
    heap.rss += 1
    assert heap.trimmer.run(urgent=False)
    assert not heap.trimmer.run(urgent=False), "what is left now is what is in use"


def test_a_small_limit_has_a_small_slack() -> None:
    heap = Heap(total_mb=300)
    heap.trimmer.run(urgent=True)
    heap.trimmer.busy()
    heap.rss += 31
    assert heap.trimmer.run(urgent=False)


def test_urgency_waits_for_nothing() -> None:
    heap = Heap(idle_seconds=30)
    heap.trimmer.busy()
    assert heap.trimmer.run(urgent=True)


def test_a_request_that_begins_ends_the_wait() -> None:
    heap = Heap(idle_seconds=30)
    threading.Timer(0.05, heap.trimmer.busy).start()
    started = time.monotonic()
    assert not heap.trimmer.run(urgent=False)
    assert time.monotonic() - started < 10
