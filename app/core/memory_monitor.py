"""Watches the memory, says when it runs short, and cleans up on a thread of its own.

A :class:`MemoryMonitor` knows nothing of HTTP: somebody (:mod:`app.core.memory_middleware`, a worker's loop) tells it
when a request begins and ends. It may be used from any thread and never makes a caller wait for a cleanup: a full
garbage collection and a heap trim can take hundreds of milliseconds.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from app.core.heap_trimmer import HeapTrimmer
from app.core.memory_cleaner import KINDS, LEVELS, THREAD_PREFIX, Cleanup, CleanupKind, Job, Level, MemoryCleaner
from app.core.memory_config import MemorySettings, Thresholds, threshold_warnings, thresholds
from app.core.memory_usage import Usage, UsageReader, read_usage
from app.core.memory_utils import collect_garbage

__all__ = ["THREAD_PREFIX", "Cleanup", "CleanupKind", "Counters", "Level", "MemoryMonitor", "Usage", "read_usage"]

_RETURN = 0.95  # hysteresis: a level is left only below this part of its threshold
_GLANCE_SECONDS = 0.05  # a burst of requests reads the usage once in this time
_EMERGENCY_SECONDS = 10.0  # between emergency cleanups while the level stays critical

_PRESSURE: Mapping[CleanupKind, Level] = {"periodic": "warning", "emergency": "critical"}

_log = logging.getLogger("app.memory")


@dataclass(frozen=True, slots=True)
class Counters:
    """What a monitor has seen and done since it was made.

    Attributes:
        requests: ended, however they ended.
        in_flight: begun and not ended.
        cleanups: how many of each kind ran through; joined ones count once, as the strongest.
        objects_collected: by all cleanups.
        freed_mb: by all cleanups.
        warnings: times that the level rose to ``warning``.
        criticals: times that the level rose to ``critical``.
    """

    requests: int
    in_flight: int
    cleanups: Mapping[CleanupKind, int]
    objects_collected: int
    freed_mb: float
    warnings: int
    criticals: int


@dataclass(frozen=True, slots=True)
class _Look:
    usage: Usage
    before: Level
    level: Level
    urgent: CleanupKind | None


class MemoryMonitor:
    """Levels, counters and cleanups; safe from any thread.

    Attributes:
        thresholds: above them the level is ``warning`` or ``critical``.
    """

    def __init__(
        self,
        settings: MemorySettings,
        *,
        usage: Callable[[], Usage] | None = None,
        clean: Callable[[int], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the limit and work out the thresholds; no thread is started before the first cleanup.

        Thresholds of the settings that do not fit the limit are warned about, and replaced.

        Args:
            settings: thresholds, and when to clean up.
            usage: reads the memory in use, on the requests' threads; a :class:`UsageReader` does where left out.
            clean: cleans up to the given generation and returns the number of objects; where left out, garbage is
                collected and a :class:`HeapTrimmer` gives memory back when that is worth it.
            clock: seconds, never going back.

        Raises:
            ValueError: the thresholds are not in order (:func:`app.core.memory_config.thresholds`).
        """
        self._usage = UsageReader().read if usage is None else usage
        total_mb = self._usage().total_mb
        self.thresholds: Thresholds = thresholds(settings, total_mb)
        for sentence in threshold_warnings(settings, total_mb):
            _log.warning(sentence)
        self._aggressive = settings.aggressive_memory_cleanup
        self._interval = settings.memory_cleanup_interval
        self._clean = collect_garbage if clean is None else clean
        self._trimmer = HeapTrimmer(total_mb) if clean is None else None
        self._clock = clock
        # of the counters; never held while something is read, logged, called back or cleaned
        self._lock = threading.Lock()
        self._looking = threading.Lock()  # held from a reading until the level is set: no older one overwrites a newer
        self._cleaner = MemoryCleaner(self._clean_up)
        self._callbacks: tuple[Callable[[Level], None], ...] = ()
        self._level: Level = "ok"
        self._read_at = self._emergency_at = -math.inf
        self._requests = self._in_flight = self._since_periodic = 0
        self._cleanups: dict[CleanupKind, int] = dict.fromkeys(KINDS, 0)
        self._objects = 0
        self._freed_mb = 0.0
        self._rises: dict[Level, int] = dict.fromkeys(LEVELS, 0)

    @property
    def level(self) -> Level:
        """The level at the last reading."""
        return self._level

    def snapshot(self) -> Counters:
        """Copy the counters."""
        with self._lock:
            return Counters(
                self._requests,
                self._in_flight,
                dict(self._cleanups),
                self._objects,
                self._freed_mb,
                self._rises["warning"],
                self._rises["critical"],
            )

    def on_pressure(self, callback: Callable[[Level], None]) -> None:
        """Have something called that drops what can be remade, on the cleanup thread before the cleanup.

        It is called with ``warning`` or ``critical`` when that level is reached from below, and again before each
        further emergency cleanup. What it raises is logged.
        """
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

    def check(self) -> Level:
        """Read the usage, move the level, and ask for the cleanup that this calls for.

        A level is reached above its threshold and left below 95 % of it; each rise is logged once. Reaching ``warning``
        asks for a periodic cleanup, reaching ``critical`` for an emergency one, and so does every check 10 s or more
        after the last one while it stays critical.

        Returns:
            The new level; the old one where the usage cannot be read, which is logged.
        """
        self._ask(self._try_look())
        return self._level

    def request_started(self) -> None:
        """Count a request that begins; check, unless that was done within the last 50 ms."""
        with self._lock:
            self._in_flight += 1
            if self._trimmer is not None:
                self._trimmer.busy()
        if self._may_glance():
            self.check()

    def request_ended(self) -> None:
        """Count a request that has ended, check as above, and ask for the cleanup that is due; returns at once."""
        due: CleanupKind | None = "request" if self._aggressive else None
        requests = 0
        with self._lock:
            self._in_flight -= 1
            self._requests += 1
            self._since_periodic += 1
            if self._trimmer is not None and not self._in_flight:
                self._trimmer.idle()
            if self._since_periodic >= self._interval:
                due, requests, self._since_periodic = "periodic", self._since_periodic, 0
        urgent = self._try_look() if self._may_glance() else None
        self._ask(urgent, due, requests)  # as one: the thread cannot begin what is due before what is urgent joins it

    def request_cleanup(self, kind: CleanupKind) -> Future[Cleanup]:
        """Ask for a cleanup on the cleanup thread, where never two run at once.

        One that has not begun yet is joined, and the stronger kind wins. One that runs already is not, as it may have
        passed the garbage that this caller made.

        Returns:
            A future of this caller alone: to cancel it stops nobody else's cleanup. It has the exception of a cleanup
            that failed, or a RuntimeError where the monitor is closed.
        """
        future: Future[Cleanup] = Future()
        requests = self._take() if kind == "periodic" else 0
        self._cleaner.ask(Job(kind, requests=requests, futures=[future]))
        return future

    def open(self) -> None:
        """Clean up again after :meth:`close`; does nothing where it is open."""
        self._cleaner.open()

    def close(self) -> None:
        """Drop what waits, let the cleanup that runs finish, and end the thread; may be called again.

        Everything may still be called afterwards: requests are counted and the level moves, but nothing is cleaned.
        """
        self._cleaner.close()

    def _may_glance(self) -> bool:
        now = self._clock()
        with self._lock:
            if now - self._read_at < _GLANCE_SECONDS:
                return False
            self._read_at = now
            return True

    def _try_look(self) -> CleanupKind | None:
        try:
            return self._tell(self._look())
        except Exception:
            _log.exception("the memory in use cannot be read")
            return None

    def _level_at(self, usage_mb: float) -> Level:
        def over(threshold: float, reached: bool) -> bool:
            return usage_mb >= _RETURN * threshold if reached else usage_mb > threshold

        if over(self.thresholds.critical_mb, self._level == "critical"):
            return "critical"
        return "warning" if over(self.thresholds.warning_mb, self._level != "ok") else "ok"

    def _look(self) -> _Look:
        """Read the usage and move the level."""
        with self._looking:
            self._read_at = now = self._clock()
            usage = self._usage()
            with self._lock:
                before, level = self._level, self._level_at(usage.usage_mb)
                self._level = level
                rose = LEVELS.index(level) > LEVELS.index(before)
                if rose:
                    self._rises[level] += 1
                emergency = level == "critical" and (rose or now - self._emergency_at >= _EMERGENCY_SECONDS)
                if emergency:
                    self._emergency_at = now
        return _Look(usage, before, level, "emergency" if emergency else "periodic" if rose else None)

    def _tell(self, look: _Look) -> CleanupKind | None:
        """Log a change of level, and say which cleanup it calls for."""
        usage_mb, limits = look.usage.usage_mb, self.thresholds
        if look.level == look.before:
            pass
        elif look.urgent is None:
            was = look.before if look.level == "warning" else "high"
            _log.info("Memory usage %.1fMB is no longer %s", usage_mb, was)
        elif look.level == "critical":
            text = "⚠️  CRITICAL: Memory usage %.1fMB exceeds critical threshold %gMB"
            _log.critical(text, usage_mb, limits.critical_mb)
        else:
            _log.warning("⚠️  WARNING: Memory usage %.1fMB exceeds warning threshold %gMB", usage_mb, limits.warning_mb)
        return look.urgent

    def _ask(self, urgent: CleanupKind | None, due: CleanupKind | None = None, requests: int = 0) -> None:
        kinds = [kind for kind in (due, urgent) if kind is not None]
        if not kinds:
            return
        if urgent == "periodic":
            requests += self._take()
        pressure = _PRESSURE[urgent] if urgent is not None else "ok"
        self._cleaner.ask(Job(max(kinds, key=KINDS.index), pressure, requests))

    def _take(self) -> int:
        with self._lock:
            requests, self._since_periodic = self._since_periodic, 0
            return requests

    def _clean_up(self, job: Job) -> Cleanup:
        began = time.perf_counter()
        before = self._usage()
        if job.pressure != "ok":
            for callback in self._callbacks:
                try:
                    callback(job.pressure)
                except Exception:
                    _log.exception("%r failed to give memory back", callback)
        objects = self._clean(1 if job.kind == "request" else 2)
        if self._trimmer is not None:
            self._trimmer.run(urgent=job.kind in ("manual", "emergency"))
        if job.kind == "emergency":
            self._emergency_at = self._clock()
        look = self._look()
        rss = look.usage.rss_mb
        cleanup = Cleanup(job.kind, objects, max(0.0, before.rss_mb - rss), time.perf_counter() - began, rss)
        with self._lock:
            self._cleanups[job.kind] += 1
            self._objects += objects
            self._freed_mb += cleanup.freed_mb
        _log_cleanup(cleanup, job.requests)
        self._ask(self._tell(look))
        return cleanup


def _log_cleanup(cleanup: Cleanup, requests: int) -> None:
    objects, rss = cleanup.objects, cleanup.rss_mb
    if cleanup.kind == "periodic":
        _log.info("🧹 Periodic cleanup after %d requests: %d objects, RSS: %.1fMB", requests, objects, rss)
        return
    level = {"request": logging.DEBUG, "manual": logging.INFO, "emergency": logging.WARNING}[cleanup.kind]
    _log.log(level, "🧹 %s cleanup: %d objects, RSS: %.1fMB", cleanup.kind.capitalize(), objects, rss)
