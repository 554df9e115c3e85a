"""Decides when giving free heap back to the system is worth its price.

Trimming takes milliseconds, and the next request faults every page in again: after each of a row of requests it would
make them a tenth slower (``benchmarks.cleanup_cost``), for memory that is taken again at once. So the heap is trimmed
when nobody needs it for a moment, and under load only once more than a slack has gathered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.core import allocator
from app.core.memory_utils import rss_mb

IDLE_SECONDS = 0.1
SLACK_MB = 64.0
SLACK_SHARE = 0.1  # of the limit, where that is less


class HeapTrimmer:
    """Trims when it is urgent, when nothing happens, or when too much has gathered; :meth:`run` on one thread only.

    Args:
        total_mb: the memory limit.
        trim: gives free heap back.
        rss: reads the RSS in MB.
        idle_seconds: without a request, after which the heap counts as unused.
    """

    def __init__(
        self,
        total_mb: float,
        *,
        trim: Callable[[], object] = allocator.trim,
        rss: Callable[[], float] = rss_mb,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._slack_mb = min(SLACK_MB, SLACK_SHARE * total_mb)
        self._trim = trim
        self._rss = rss
        self._idle_seconds = idle_seconds
        self._busy = threading.Event()
        self._least_mb: float | None = None

    def busy(self) -> None:
        """A request begins."""
        self._busy.set()

    def idle(self) -> None:
        """No request is left."""
        self._busy.clear()

    def run(self, *, urgent: bool) -> bool:
        """Trim if it is time for it; waits a moment to see whether requests go on.

        Args:
            urgent: trim in any case, at once.

        Returns:
            Whether it was trimmed.
        """
        if not (urgent or self._has_gathered() or not self._busy.wait(self._idle_seconds)):
            return False
        self._trim()
        self._least_mb = self._rss()
        return True

    def _has_gathered(self) -> bool:
        return self._least_mb is not None and self._rss() - self._least_mb > self._slack_mb
