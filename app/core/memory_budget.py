"""Admits work only where its memory fits: what is in use and what is promised never add up beyond the threshold.

A request is promised memory twice. While its body is read, for the upload, which has to leave room for the analyses
that are to come; once the body is there, it is part of what is in use. Then, on its thread, for what each stage will
take. The first keeps a crowd of uploads from shutting out the analyses they wait for.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from app.core.errors import MemoryCritical, TooLarge
from app.core.memory_usage import Usage

ANALYSIS_BASE_MB = 14.0
ANALYSIS_MB_PER_SECOND = 2.4
ANALYSIS_WINDOW_SECONDS = 30.0
ANALYSIS_MB_PER_LATER_SECOND = 0.6
"""An upper line over the memory that an analysis takes at its peak, by the length of the recording: the acoustic model
looks at windows of 30 s, what is longer adds its results alone. Fitted by ``benchmarks.request_cost``."""

SPEECH_BASE_MB = 4.0
SPEECH_MB_PER_SECOND = 5.0
CLIP_MB_PER_SECOND = 0.12
"""An upper line over the memory that the built-in voice takes to speak: for each second of the phrase that it is at,
and for each second of the clip (16 bits at 24 kHz, and room to grow). Fitted by ``benchmarks.request_cost``."""

SAMPLES_MB_PER_SECOND = 2 * 16_000 * 4 / 2**20
"""While decoding: float32 at 16 kHz, in blocks and then in one piece."""
LEAST_BYTES_PER_SECOND = 500
"""No codec for speech takes less: what a file of so many bytes can be at the longest."""

UPLOAD_BASE_MB = 1.5
UPLOAD_FACTOR = 1.75
JSON_UPLOAD_FACTOR = 1.3
"""Bytes in memory for each byte of a body at the worst moment of reading it, several at once: buffers that grow are
copied and leave holes. Of JSON only the recording is kept, decoded as it comes."""


def analysis_mb(seconds: float) -> float:
    """The memory that analysing so many seconds takes, at most, in MB."""
    later = max(0.0, seconds - ANALYSIS_WINDOW_SECONDS)
    return ANALYSIS_BASE_MB + ANALYSIS_MB_PER_SECOND * (seconds - later) + ANALYSIS_MB_PER_LATER_SECOND * later


def speech_mb(phrase_seconds: float, clip_seconds: float) -> float:
    """The memory that speaking takes, at most, in MB.

    Args:
        phrase_seconds: length of the longest phrase.
        clip_seconds: length of all phrases together.
    """
    return SPEECH_BASE_MB + SPEECH_MB_PER_SECOND * phrase_seconds + CLIP_MB_PER_SECOND * clip_seconds


def decoding_mb(file_bytes: int, max_seconds: float) -> float:
    """The memory that decoding a file takes, at most, in MB: a copy of it, and samples for as long as it can be."""
    return file_bytes / 2**20 + SAMPLES_MB_PER_SECOND * min(max_seconds, file_bytes / LEAST_BYTES_PER_SECOND)


def upload_mb(body_bytes: int, *, is_json: bool) -> float:
    """The memory that reading a body of so many bytes takes, at most, in MB."""
    return UPLOAD_BASE_MB + body_bytes / 2**20 * (JSON_UPLOAD_FACTOR if is_json else UPLOAD_FACTOR)


class Promise:
    """Memory that a request may take; given back by :meth:`MemoryBudget.promise` when its block ends."""

    def __init__(self, budget: MemoryBudget, reserve_mb: float, field: str | None) -> None:
        self.mb = 0.0
        self._budget = budget
        self._reserve_mb = reserve_mb
        self._field = field

    def extend(self, mb: float) -> None:
        """Promise more.

        Raises:
            MemoryCritical: it does not fit now.
            TooLarge: it would not fit if nothing else ran.
        """
        self._budget._extend(self, mb, self._reserve_mb, self._field)

    def use(self) -> None:
        """Say that everything promised is taken by now, so that it counts among what is in use."""
        self._budget._forget(self)


class MemoryBudget:
    """Promises memory to requests, and takes it back; safe from any thread."""

    def __init__(
        self,
        critical_mb: float,
        usage: Callable[[], Usage],
        retry_after: Callable[[], int],
        *,
        reserve_mb: float = 0.0,
        relieve: Callable[[], object] = lambda: None,
    ) -> None:
        """Promise nothing yet.

        Args:
            critical_mb: never to be exceeded.
            usage: reads the memory in use.
            retry_after: whole seconds after which another try makes sense.
            reserve_mb: what uploads leave for analyses; half of all that can be had, where that is less.
            relieve: makes room, blocking, before an analysis is turned away.
        """
        self._critical_mb = critical_mb
        self._usage = usage
        self._retry_after = retry_after
        self._reserve_mb = reserve_mb
        self._relieve = relieve
        self._lock = threading.Lock()
        self._promises: set[Promise] = set()
        self._floor_mb = 0.0

    @classmethod
    def unlimited(cls) -> MemoryBudget:
        """A budget that admits everything, for scripts and tests."""
        return cls(float("inf"), lambda: Usage(0.0, 0.0, float("inf")), lambda: 1)

    @property
    def promised_mb(self) -> float:
        """The sum of the standing promises."""
        with self._lock:
            return sum(promise.mb for promise in self._promises)

    def started(self) -> None:
        """Remember what is in use now, before any request, as what can never be had."""
        self._floor_mb = self._usage().usage_mb
        self._reserve_mb = min(self._reserve_mb, self.largest_mb() / 2)

    def largest_mb(self) -> float:
        """The largest promise that could be made if nothing else ran."""
        return self._critical_mb - self._floor_mb

    def is_exhausted(self) -> bool:
        """Whether no upload could be admitted although nothing runs."""
        with self._lock:
            return not self._promises and self._usage().usage_mb + self._reserve_mb > self._critical_mb

    @contextlib.contextmanager
    def promise_upload(self, mb: float) -> Iterator[Promise]:
        """Hold ``mb``, and what the promise is extended by, for the length of a ``with`` block; never blocks.

        Raises:
            MemoryCritical: it does not fit now beside the reserve for analyses.
            TooLarge: it would not fit if nothing else ran.
        """
        with self._hold(Promise(self, self._reserve_mb, None)) as promise:
            promise.extend(mb)
            yield promise

    @contextlib.contextmanager
    def promise(self, mb: float, field: str | None = None) -> Iterator[Promise]:
        """Hold ``mb`` for the length of a ``with`` block; may block for a cleanup, if it does not fit at once.

        Args:
            mb: what the work will take at most.
            field: of the request, to be blamed where this can never fit.

        Raises:
            MemoryCritical: it does not fit now.
            TooLarge: it would not fit if nothing else ran.
        """
        with self._hold(Promise(self, 0.0, field)) as promise:
            try:
                promise.extend(mb)
            except MemoryCritical:
                self._relieve()
                promise.extend(mb)
            yield promise

    @contextlib.contextmanager
    def _hold(self, promise: Promise) -> Iterator[Promise]:
        with self._lock:
            self._promises.add(promise)
        try:
            yield promise
        finally:
            with self._lock:
                self._promises.discard(promise)

    def _forget(self, promise: Promise) -> None:
        with self._lock:
            promise.mb = 0.0

    def _extend(self, promise: Promise, mb: float, reserve_mb: float, field: str | None) -> None:
        with self._lock:
            if self._floor_mb + promise.mb + mb > self._critical_mb:
                needed = promise.mb + mb
                detail = f"This needs about {needed:.0f} MB of memory, more than the instance has to give."
                raise TooLarge(detail, field=field)
            # What is promised counts in full, though some of it is in use by now: better once too often than not.
            standing = sum(other.mb for other in self._promises)
            if self._usage().usage_mb + standing + mb + reserve_mb > self._critical_mb:
                raise MemoryCritical(
                    "The memory that is left does not suffice for this now; please try again later.",
                    retry_after=self._retry_after(),
                )
            promise.mb += mb
