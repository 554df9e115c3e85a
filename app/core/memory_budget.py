"""Admits work only where its memory fits: what is promised to requests never adds up beyond the critical threshold."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator

from app.core.errors import MemoryCritical, TooLarge
from app.core.memory_usage import Usage

ANALYSIS_BASE_MB = 10.0
ANALYSIS_MB_PER_SECOND = 1.1
ANALYSIS_WINDOW_SECONDS = 30.0
ANALYSIS_MB_PER_LATER_SECOND = 0.3
"""An upper line over the memory that an analysis takes at its peak, by the length of the recording: the acoustic model
looks at windows of 30 s, what is longer adds its results alone. Fitted by ``benchmarks.request_cost``."""

UPLOAD_FACTOR = 1.3
JSON_UPLOAD_FACTOR = 3.0
"""Bytes in memory for each byte of a body at the worst moment of reading it: growing buffers, base64 and its text."""


def analysis_mb(seconds: float) -> float:
    """The memory that analysing so many seconds takes, at most, in MB."""
    later = max(0.0, seconds - ANALYSIS_WINDOW_SECONDS)
    return ANALYSIS_BASE_MB + ANALYSIS_MB_PER_SECOND * (seconds - later) + ANALYSIS_MB_PER_LATER_SECOND * later


def upload_mb(body_bytes: int, *, is_json: bool) -> float:
    """The memory that reading a body of so many bytes takes, at most, in MB."""
    return body_bytes / 2**20 * (JSON_UPLOAD_FACTOR if is_json else UPLOAD_FACTOR)


class MemoryBudget:
    """Promises memory to requests, and takes it back; safe from any thread.

    A promise is kept twice over: neither what is in use now, nor what was in use before the first of the standing
    promises plus all of them, may go beyond the threshold with the new one. The first alone would count what others
    have been promised and not used yet as free, the second alone what was never promised.
    """

    def __init__(self, critical_mb: float, usage: Callable[[], Usage], retry_after: Callable[[], int]) -> None:
        """Promise nothing yet.

        Args:
            critical_mb: never to be exceeded.
            usage: reads the memory in use.
            retry_after: whole seconds after which another try makes sense.
        """
        self._critical_mb = critical_mb
        self._usage = usage
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self._promises: dict[int, float] = {}
        self._next = 0
        self._before = 0.0
        self._lowest = math.inf

    @classmethod
    def unlimited(cls) -> MemoryBudget:
        """A budget that admits everything, for scripts and tests."""
        return cls(math.inf, lambda: Usage(0.0, 0.0, math.inf), lambda: 1)

    @property
    def promised_mb(self) -> float:
        """The sum of the standing promises."""
        with self._lock:
            return sum(self._promises.values())

    def largest_mb(self) -> float:
        """The largest promise that could be made if nothing else ran."""
        with self._lock:
            return self._critical_mb - self._read_idle()

    @contextlib.contextmanager
    def promise(self, mb: float, field: str | None = None) -> Iterator[None]:
        """Hold ``mb`` for the length of a ``with`` block.

        Args:
            mb: what the work will take at most.
            field: of the request, to be blamed where this can never fit.

        Raises:
            MemoryCritical: it does not fit now.
            TooLarge: it would not fit if nothing else ran.
        """
        key = self._make(mb, field)
        try:
            yield
        finally:
            with self._lock:
                del self._promises[key]

    def _make(self, mb: float, field: str | None) -> int:
        with self._lock:
            now = self._usage().usage_mb
            if not self._promises:
                self._before = now
                self._lowest = min(self._lowest, now)
            if self._lowest + mb > self._critical_mb:
                detail = f"The recording needs about {mb:.0f} MB of memory, more than this instance has to give."
                raise TooLarge(detail, field=field)
            if max(now, self._before + sum(self._promises.values())) + mb > self._critical_mb:
                raise MemoryCritical(
                    "The memory that is left does not suffice for one more analysis; please try again later.",
                    retry_after=self._retry_after(),
                )
            self._next += 1
            self._promises[self._next] = mb
            return self._next

    def _read_idle(self) -> float:
        return self._lowest if math.isfinite(self._lowest) else self._usage().usage_mb
