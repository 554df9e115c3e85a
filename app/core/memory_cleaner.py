"""The one thread that cleans up memory, and how requests for a cleanup join one another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["ok", "warning", "critical"]
CleanupKind = Literal["request", "periodic", "emergency", "manual"]

LEVELS: tuple[Level, ...] = ("ok", "warning", "critical")
KINDS: tuple[CleanupKind, ...] = ("request", "periodic", "manual", "emergency")
"""Each stronger than the ones before it."""

THREAD_PREFIX = "elocute-memory"

_log = logging.getLogger("app.memory")


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What a cleanup did.

    Attributes:
        kind: the strongest that was asked for.
        objects: garbage objects collected.
        freed_mb: MB by which the RSS is smaller than before, at least 0; requests that run meanwhile hide some of it.
        seconds: time taken, with that of the callbacks that drop what can be remade.
        rss_mb: RSS afterwards in MB.
    """

    kind: CleanupKind
    objects: int
    freed_mb: float
    seconds: float
    rss_mb: float


@dataclass(slots=True)
class Job:
    """A cleanup that was asked for, maybe more than once.

    Attributes:
        kind: the strongest that was asked for.
        pressure: the highest level that led to it; ``ok`` where none did.
        requests: requests that it comes after, where it is periodic.
        futures: one for each who wants to know.
    """

    kind: CleanupKind
    pressure: Level = "ok"
    requests: int = 0
    futures: list[Future[Cleanup]] = field(default_factory=list)


class MemoryCleaner:
    """Runs one cleanup at a time, on a thread that is started with the first."""

    def __init__(self, work: Callable[[Job], Cleanup]) -> None:
        """Start nothing yet.

        Args:
            work: the cleanup itself; what it raises is logged and passed on to the futures, and the thread goes on.
        """
        self._work = work
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD_PREFIX)
        self._waiting: Job | None = None
        self._thread: int | None = None
        self._closed = False

    def ask(self, asked: Job) -> None:
        """Join the cleanup that waits to begin, or put a new one; returns at once.

        A cleanup that runs is not joined, as it may have passed the garbage in question. Once closed, or where no
        thread can be had, nothing is done, and the futures have a RuntimeError.
        """
        error: RuntimeError | None = None
        with self._lock:
            job = self._waiting
            if self._closed:
                error = RuntimeError("the memory monitor is closed")
            elif job is not None:
                job.kind = max(job.kind, asked.kind, key=KINDS.index)
                job.pressure = max(job.pressure, asked.pressure, key=LEVELS.index)
                job.requests += asked.requests
                job.futures += asked.futures
            else:
                self._waiting = asked
                try:
                    self._pool.submit(self._run)
                except RuntimeError as cause:  # no further thread can be had, or the interpreter is ending
                    error, self._waiting = cause, None
        if error is not None:
            _fail(asked, error)

    def open(self) -> None:
        """Take jobs again after :meth:`close`."""
        with self._lock:
            if self._closed:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix=THREAD_PREFIX)
                self._closed = False

    def close(self) -> None:
        """Drop what waits, let the cleanup that runs finish, and end the thread; may be called again."""
        with self._lock:
            self._closed = True
            job, self._waiting = self._waiting, None
            on_thread = self._thread == threading.get_ident()  # which cannot wait for itself
        if job is not None:
            _fail(job, RuntimeError("the memory monitor is closed"))
        self._pool.shutdown(wait=not on_thread, cancel_futures=True)

    def _run(self) -> None:
        with self._lock:
            self._thread = threading.get_ident()
            job, self._waiting = self._waiting, None
        if job is None:
            return
        try:
            cleanup = self._work(job)
        except Exception as error:
            _log.exception("the %s cleanup failed", job.kind)
            _fail(job, error)
            return
        for future in job.futures:
            if future.set_running_or_notify_cancel():
                future.set_result(cleanup)


def _fail(job: Job, error: Exception) -> None:
    for future in job.futures:
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
