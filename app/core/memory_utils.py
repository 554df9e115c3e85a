"""Process memory: read it, follow it through a stage, give it back.

MB are 1024 * 1024 bytes. RSS is the resident set size: what the process holds in RAM, shared pages included.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import mmap
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast, overload

import psutil

from app.core.heap_cleaner import HeapCleaner, used_cuda
from app.core.memory_limit import read_memory_limit

P = ParamSpec("P")
R = TypeVar("R")

MB = 1024 * 1024

STAGE_LOGGER = "app.memory.stages"
"""Logs each tracked stage at INFO; a child of ``app.memory``, whose warnings and cleanups show in any case."""

_stage_log = logging.getLogger(STAGE_LOGGER)
_log = logging.getLogger("app.memory")


def configure_memory_logging(enabled: bool) -> None:
    """Show or hide the line of each tracked stage (the setting ``ENABLE_MEMORY_LOGGING``); nothing else is touched."""
    _stage_log.setLevel(logging.INFO if enabled else logging.WARNING)


def rss_mb() -> float:
    """Read the process' RSS in MB; takes about 2 µs under Linux."""
    try:
        file = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return float(psutil.Process().memory_info().rss / MB)
    try:
        return int(os.read(file, 128).split()[1]) * mmap.PAGESIZE / MB
    finally:
        os.close(file)


def get_memory_info() -> dict[str, Any]:
    """Read the memory of the process, of its limit and of the GPU.

    Returns:
        Values for JSON, sizes in MB to one decimal:

        - ``rss_mb``, ``vms_mb``: resident and virtual size of the process.
        - ``total_mb``, ``available_mb``: the effective limit and what is left of it; ``source`` says whose it is
          (``cgroup2``, ``cgroup1`` or ``host``).
        - ``percent``: RSS of the effective limit, in %.
        - ``gpu``: None unless torch already uses CUDA; else ``name``, ``total_mb`` and ``free_mb`` of the current
          device, and what this process' tensors take (``allocated_mb``) and torch keeps for it (``reserved_mb``).
    """
    process = psutil.Process().memory_info()
    limit = read_memory_limit()
    return {
        "rss_mb": _to_mb(process.rss),
        "vms_mb": _to_mb(process.vms),
        "percent": round(100 * process.rss / limit.total_bytes, 1),
        "available_mb": _to_mb(limit.available_bytes),
        "total_mb": _to_mb(limit.total_bytes),
        "source": limit.source,
        "gpu": _gpu_info(),
    }


class MemoryTracker:
    """Follows RSS and time through the block of a ``with`` or ``async with``; exceptions pass through.

    Afterwards one line is logged if :func:`configure_memory_logging` switched that on. RSS is the whole process', so
    that what runs at the same time counts too. Trackers nest; each is for one block.

    Attributes:
        name: of the stage.
        rss_before_mb: at the start of the block, 0 before it.
        rss_after_mb: at its end, 0 before that, as with the next two.
        rss_delta_mb: the difference, negative where memory was given back.
        seconds: that the block took.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rss_before_mb = 0.0
        self.rss_after_mb = 0.0
        self.rss_delta_mb = 0.0
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> Self:
        self.rss_before_mb = rss_mb()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._started
        self.rss_after_mb = rss_mb()
        self.rss_delta_mb = self.rss_after_mb - self.rss_before_mb
        if _stage_log.isEnabledFor(logging.INFO):
            self._log_line()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _log_line(self) -> None:
        limit = read_memory_limit()
        _stage_log.info(
            "[%s] RSS: %.1fMB, Percent: %.1f%%, Available: %.1fMB",
            self.name,
            self.rss_after_mb,
            100 * self.rss_after_mb * MB / limit.total_bytes,
            limit.available_bytes / MB,
        )


def force_cleanup(generation: int = 2) -> int:
    """Collect garbage, empty torch's CUDA cache where it uses one, and give free heap back to the system.

    Safe from any thread, but it blocks: to be called off the event loop. Two never run at once; who comes during one
    waits, and returns 0 where a cleanup that began after the call has done the work.

    After :func:`freeze_heap` the collection costs next to nothing; without it a full one, which holds the GIL, takes
    10 ms beside the built-in models and 150 ms beside torch. Giving memory back takes a millisecond or two after a
    request, and its price is paid by whoever needs the pages again: :mod:`app.core.heap_trimmer` weighs that for the
    service.

    Args:
        generation: the oldest generation to collect, 0 to 2.

    Returns:
        Unreachable objects found by this call.

    Raises:
        ValueError: there is no such generation.
    """
    return _cleaner().clean(generation, trim=True)


def collect_garbage(generation: int = 2) -> int:
    """The part of :func:`force_cleanup` that collects, for who trims the heap when it is time.

    Args:
        generation: the oldest generation to collect, 0 to 2.

    Returns:
        Unreachable objects found by this call.

    Raises:
        ValueError: there is no such generation.
    """
    return _cleaner().clean(generation, trim=False)


def freeze_heap() -> int:
    """Put everything that lives now out of the garbage collector's sight, so that collections cost next to nothing.

    To be called once after warm-up, while nothing runs. What is frozen still dies when its last reference goes; only
    reference cycles in it are never found. So there is no need to thaw it (``gc.unfreeze``), except after letting go
    of something big such as a model: then call this again, as it looks through all objects anew.

    Returns:
        Objects frozen altogether.
    """
    return _cleaner().freeze()


@overload
def memory_tracked(name: Callable[P, R]) -> Callable[P, R]: ...
@overload
def memory_tracked(name: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def memory_tracked(name: Callable[P, R] | str | None = None) -> Callable[..., Any]:
    """Run each call of a function, sync or async, in a :class:`MemoryTracker`.

    Args:
        name: of the stage; the function's own one where left out (``@memory_tracked``).

    Raises:
        TypeError: the function is a generator, whose call does not run it.
    """
    if callable(name):
        return _within(functools.partial(MemoryTracker, name.__qualname__), name)

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        return _within(functools.partial(MemoryTracker, name or fn.__qualname__), fn)

    return decorate


def cleanup_after(fn: Callable[P, R]) -> Callable[P, R]:
    """Run :func:`force_cleanup` whenever a function, sync or async, has ended, also by an exception.

    The caller gets the result after the cleanup. What an exception's traceback still refers to is not freed by then.
    For an async function the cleanup runs off the event loop, in a thread of its own that ends with it: threads of
    the default pool would stay, each with an arena of the heap.

    Raises:
        TypeError: the function is a generator, whose call does not run it.
    """
    return _within(_CleanupAfter, fn)


class _CleanupAfter:
    """A block after which :func:`force_cleanup` runs; of ``async with``, off the event loop."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        force_cleanup()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *error: object) -> None:
        executor = ThreadPoolExecutor(1, thread_name_prefix="memory-cleanup")
        try:
            await asyncio.get_running_loop().run_in_executor(executor, force_cleanup)
        finally:
            executor.shutdown(wait=False)  # it is through by now, unless the caller was cancelled


def _within(make: Callable[[], MemoryTracker | _CleanupAfter], fn: Callable[P, R]) -> Callable[P, R]:
    """Run each call of a function in a context of its own."""
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{fn.__qualname__} is a generator: calling it does not run it.")
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with make():
                return await fn(*args, **kwargs)

        return cast("Callable[P, R]", async_wrapper)

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with make():
            return fn(*args, **kwargs)

    return wrapper


@functools.cache
def _cleaner() -> HeapCleaner:
    """The one of this process."""
    return HeapCleaner()


def _gpu_info() -> dict[str, Any] | None:
    cuda = used_cuda()
    if cuda is None:
        return None
    try:
        free, total = cuda.mem_get_info()
        return {
            "name": cuda.get_device_name(),
            "total_mb": _to_mb(total),
            "allocated_mb": _to_mb(cuda.memory_allocated()),
            "reserved_mb": _to_mb(cuda.memory_reserved()),
            "free_mb": _to_mb(free),
        }
    except RuntimeError:  # a GPU in trouble is no reason to answer nothing about the process
        _log.debug("the GPU does not answer", exc_info=True)
        return None


def _to_mb(size: float) -> float:
    return round(size / MB, 1)
