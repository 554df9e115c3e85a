"""What the service does about its memory: looks every second, makes room before it turns work away, asks to be renewed.

The monitor knows levels and cleanups, the budget what was promised; this decides what follows for the service.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from app.core.errors import MemoryCritical
from app.core.memory_config import MemorySettings
from app.core.memory_monitor import MemoryMonitor
from app.core.memory_usage import Usage

WATCH_SECONDS = 1.0
RELIEF_SECONDS = 2.0  # between emergency cleanups that requests wait for
RECYCLE_SECONDS = 30.0
"""How long memory stays critical, with nothing in flight, before a process is given up."""

_LEFT = 0.95  # of the critical threshold, below which the level is left

_log = logging.getLogger("app.memory")


class MemoryGuard:
    """Stands between the monitor and the service; to be used from one event loop.

    Args:
        settings: whether the process may be given up.
        monitor: levels and cleanups.
        usage: reads the memory in use.
        exhausted: whether nothing could be admitted although nothing runs.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        settings: MemorySettings,
        monitor: MemoryMonitor,
        usage: Callable[[], Usage],
        exhausted: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recycle = settings.memory_recycle
        self._monitor = monitor
        self._usage = usage
        self._exhausted = exhausted
        self._clock = clock
        self._relief: asyncio.Task[None] | None = None
        self._relieved_at = -math.inf
        self._critical_since: float | None = None
        self._fresh_rss_mb = 0.0
        self._told = False

    def started(self) -> None:
        """Remember how much memory a process takes that has served nothing yet."""
        self._fresh_rss_mb = self._usage().rss_mb

    def is_short(self) -> bool:
        """Whether new work is turned away: memory is critical, or so near to it that nothing fits."""
        return self._monitor.level == "critical" or self._exhausted()

    async def make_room(self, retry_after: Callable[[], int]) -> None:
        """Return where memory is not short, or no longer after an emergency cleanup that all callers share.

        Raises:
            MemoryCritical: it still is.
        """
        if not self.is_short():
            return
        if self._relief is None and self._clock() - self._relieved_at >= RELIEF_SECONDS:
            self._relief = asyncio.create_task(self._clean_up(), name="emergency cleanup")
        if self._relief is not None:
            await asyncio.shield(self._relief)
        self._monitor.check()
        if self.is_short():
            raise MemoryCritical(
                "The service is short of memory; please try again later.", retry_after=max(2, retry_after())
            )

    def look(self, in_flight: int) -> bool:
        """Check the level, as somebody has to where no request comes.

        Args:
            in_flight: requests that are being served.

        Returns:
            Whether the process should be given up: ``MEMORY_RECYCLE`` allows it, memory has stayed short for
            ``RECYCLE_SECONDS``, nothing is in flight, and a new process would be better off.
        """
        self._monitor.check()
        if not self.is_short():
            self._critical_since = None
            return False
        now = self._clock()
        if self._critical_since is None:
            self._critical_since = now
        if not self._recycle or in_flight or now - self._critical_since < RECYCLE_SECONDS:
            return False
        usage = self._usage()
        renewed = usage.usage_mb - (usage.rss_mb - self._fresh_rss_mb)
        if renewed > _LEFT * self._monitor.thresholds.critical_mb:
            if not self._told:
                _log.error("memory stays short, but not by what this process holds: a new one would be no better off")
            self._told = True
            return False
        return True

    async def _clean_up(self) -> None:
        try:
            await asyncio.wrap_future(self._monitor.request_cleanup("emergency"))
        except Exception:
            _log.exception("the emergency cleanup failed")
        finally:
            self._relieved_at = self._clock()
            self._relief = None
