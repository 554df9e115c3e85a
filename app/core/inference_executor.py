"""Admission, and the few threads that everything slow runs on.

Inference runs on threads of its own, never on the event loop's default pool: each thread keeps memory arenas of its
own, so their number bounds what a busy service holds on to. Requests wait in the event loop, not in the pool, so that
one that is given up leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar, TypeVarTuple

from app.core.errors import AnalysisTimeout, ServiceBusy
from app.core.tracebacks import forget_locals

Ts = TypeVarTuple("Ts")
T = TypeVar("T")

THREAD_PREFIX = "elocute-inference"

_SMOOTHING = 0.2  # weight of the newest duration in the moving average

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Place:
    """A place taken with :meth:`InferenceExecutor.admit`.

    Attributes:
        cleanup: closed when the place is given back, so when no thread uses what the request brought any more.
        job: what holds the place, if it has begun.
    """

    cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    job: Future[Any] | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    future: Future[Any]
    cancelled: Event | None


class InferenceExecutor:
    """A fixed number of threads, and a bounded number of places in front of them.

    A request takes a place with :meth:`admit` before its recording is read, so that the places also bound the memory
    that recordings take, and gives it back when its job has really ended. To be used from one event loop.
    """

    def __init__(self, workers: int, max_queued: int) -> None:
        """Start no thread yet.

        Args:
            workers: jobs that run at the same time, at least 1.
            max_queued: places beyond those, at least 0.
        """
        self._workers = workers
        self._places = workers + max_queued
        self._taken = 0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=THREAD_PREFIX)
        self._free = asyncio.Semaphore(workers)
        self._running: dict[int, _Running] = {}
        self._average: float | None = None

    @property
    def taken(self) -> int:
        """Places taken: requests being read, waiting and running."""
        return self._taken

    @property
    def running(self) -> int:
        """Jobs that have a thread."""
        return len(self._running)

    def retry_after(self) -> int:
        """Whole seconds until the requests ahead are likely to be through, at least 1."""
        return max(1, math.ceil((self._average or 0.0) * self._taken / self._workers))

    @contextlib.contextmanager
    def admit(self) -> Iterator[Place]:
        """Take a place for the length of a ``with`` block, or longer where its job's thread outlives the block.

        Raises:
            ServiceBusy: all places are taken.
        """
        if self._taken >= self._places:
            raise ServiceBusy(
                "All places in the queue are taken; please try again later.",
                retry_after=self.retry_after(),
            )
        place = Place()
        self._taken += 1
        try:
            yield place
        finally:
            if place.job is None:
                self._give_back(place)
            else:
                self._when_ended(place.job, lambda: self._give_back(place))

    async def run(
        self,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        timeout: float | None = None,  # noqa: ASYNC109 - a thread cannot be cancelled: this is more than a scope
        cancelled: Event | None = None,
        place: Place | None = None,
    ) -> T:
        """Run a blocking function on one of the threads, waiting for one to be free.

        Args:
            fn: what to run.
            args: for ``fn``.
            timeout: seconds for waiting and running together, None for no limit.
            cancelled: set when nobody waits for the job any more, so that it can stop early.
            place: held until the thread has really ended the job.

        Raises:
            AnalysisTimeout: the time is over; a job that runs keeps its thread until it ends.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await self._free.acquire()
                future = self._start(_let_go, fn, *args, cancelled=cancelled)
                if place is not None:
                    place.job = future
                return await asyncio.wrap_future(future)
        except BaseException as error:
            if cancelled is not None:
                cancelled.set()
            if limit.expired() and isinstance(error, TimeoutError):
                raise AnalysisTimeout(f"The work was not through after {timeout:g} s.") from None
            raise

    async def close(self, patience: float) -> bool:
        """Wait for the running jobs, then tell them to stop, then leave the threads to themselves.

        Args:
            patience: seconds to wait before ``cancelled`` is set, and once more after it.

        Returns:
            Whether every thread has ended its job.
        """
        for tell in (False, True):
            if not self._running:
                break
            if tell:
                _log.warning("telling %d running jobs to stop", len(self._running))
                for job in self._running.values():
                    if job.cancelled is not None:
                        job.cancelled.set()
            futures = [asyncio.wrap_future(job.future) for job in self._running.values()]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await asyncio.gather(*futures, return_exceptions=True)
            await asyncio.sleep(0)  # the ends are counted by callbacks of the loop
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._running

    def _start(self, fn: Callable[[*Ts], T], *args: *Ts, cancelled: Event | None) -> Future[T]:
        started = time.monotonic()
        try:
            future = self._pool.submit(fn, *args)
        except BaseException:
            self._free.release()
            raise
        key = id(future)
        self._running[key] = _Running(future, cancelled)

        def ended() -> None:
            del self._running[key]
            self._free.release()
            if cancelled is not None:  # loading the models says nothing of how long an analysis takes
                seconds = time.monotonic() - started
                average = seconds if self._average is None else self._average
                self._average = average + _SMOOTHING * (seconds - average)

        self._when_ended(future, ended)
        return future

    @staticmethod
    def _when_ended(future: Future[T], callback: Callable[[], None]) -> None:
        """Call back on the event loop, unless that is gone by then."""
        loop = asyncio.get_running_loop()

        def notify(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
                loop.call_soon_threadsafe(callback)

        future.add_done_callback(notify)

    def _give_back(self, place: Place) -> None:
        self._taken -= 1
        place.cleanup.close()


def _let_go(fn: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call ``fn``; an exception leaves without the locals of its frames."""
    try:
        return fn(*args)
    except BaseException as error:
        forget_locals(error)
        raise
