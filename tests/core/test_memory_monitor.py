from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.core.memory_config import MemorySettings
from app.core.memory_monitor import THREAD_PREFIX, CleanupKind, Level, MemoryMonitor, Usage

Make = Callable[..., MemoryMonitor]


class Machine:
    """Memory, time and a cleanup that are as a test wants them."""

    def __init__(self) -> None:
        self.usage = Usage(100.0, 90.0, 1000.0)
        self.now = 0.0
        self.reads = 0
        self.generations: list[int] = []
        self.threads: set[str] = set()
        self.objects = 7
        self.after: float | None = None  # what is in use after a cleanup
        self.hold: threading.Event | None = None
        self.begun = threading.Event()
        self.error: Exception | None = None

    def read(self) -> Usage:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.usage

    def clean(self, generation: int) -> int:
        self.generations.append(generation)
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        if self.hold is not None:
            assert self.hold.wait(5)
        if self.after is not None:
            self.use(self.after)
        return self.objects

    def use(self, mb: float) -> None:
        self.usage = replace(self.usage, usage_mb=mb, rss_mb=mb - 10)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def make(machine: Machine, caplog: pytest.LogCaptureFixture) -> Iterator[Make]:
    caplog.set_level(logging.DEBUG, "app.memory")
    made: list[MemoryMonitor] = []

    def make(**chosen: Any) -> MemoryMonitor:
        defaults = {name: setting.default for name, setting in MemorySettings.model_fields.items()}
        thresholds = {"memory_warning_threshold_mb": 600, "memory_critical_threshold_mb": 800}
        settings = MemorySettings(_env_file=None, **defaults | thresholds | chosen)
        made.append(MemoryMonitor(settings, usage=machine.read, clean=machine.clean, clock=lambda: machine.now))
        return made[-1]

    yield make
    for monitor in made:
        monitor.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]


def request(monitor: MemoryMonitor, wait: bool = True) -> None:
    monitor.request_started()
    monitor.request_ended()
    if wait:
        drained(monitor)


def drained(monitor: MemoryMonitor) -> None:
    """Wait for the cleanups asked for so far without asking for one that counts: the pool has one thread."""
    monitor._cleaner._pool.submit(lambda: None).result(5)


def lines(caplog: pytest.LogCaptureFixture, least: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= least]


def test_thresholds_follow_from_the_limit(make: Make) -> None:
    monitor = make(memory_warning_threshold_mb=None, memory_critical_threshold_mb=None)
    assert (monitor.thresholds.warning_mb, monitor.thresholds.critical_mb) == (750, 875)
    assert monitor.level == "ok"


def test_thresholds_that_cannot_be_are_refused_by_name(make: Make) -> None:
    with pytest.raises(ValueError, match="MEMORY_WARNING_THRESHOLD_MB"):
        make(memory_warning_threshold_mb=990, memory_critical_threshold_mb=None)


def test_thresholds_beyond_the_limit_are_warned_about(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    monitor = make(memory_critical_threshold_mb=3500)
    assert monitor.thresholds.critical_mb < 1000
    assert "MEMORY_CRITICAL_THRESHOLD_MB" in caplog.text


class TestRequests:
    def test_a_periodic_cleanup_every_n_requests_exactly(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make(aggressive_memory_cleanup=False, memory_cleanup_interval=5)
        for count in range(1, 13):
            request(monitor)
            assert monitor.snapshot().cleanups["periodic"] == count // 5
        assert lines(caplog) == ["🧹 Periodic cleanup after 5 requests: 7 objects, RSS: 90.0MB"] * 2
        assert machine.generations == [2, 2]
        assert machine.threads == {f"{THREAD_PREFIX}_0"}

    def test_aggressive_cleans_up_after_the_others_too_and_says_little(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make(memory_cleanup_interval=3)
        for _ in range(6):
            request(monitor)
        assert machine.generations == [1, 1, 2] * 2
        assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.DEBUG, logging.INFO] * 2
        assert "🧹 Request cleanup: 7 objects, RSS: 90.0MB" in caplog.messages

    def test_requests_that_end_while_a_cleanup_runs_share_the_next(self, make: Make, machine: Machine) -> None:
        machine.hold = threading.Event()
        monitor = make(memory_cleanup_interval=100)
        request(monitor, wait=False)
        assert machine.begun.wait(5)
        for _ in range(50):
            request(monitor, wait=False)
        machine.hold.set()
        drained(monitor)
        assert machine.generations == [1, 1]
        assert monitor.snapshot().requests == 51

    def test_in_flight_is_what_began_and_has_not_ended(self, make: Make) -> None:
        monitor = make()
        monitor.request_started()
        monitor.request_started()
        assert (monitor.snapshot().in_flight, monitor.snapshot().requests) == (2, 0)
        monitor.request_ended()
        assert (monitor.snapshot().in_flight, monitor.snapshot().requests) == (1, 1)

    def test_no_request_is_lost_between_threads(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        monitor = make(aggressive_memory_cleanup=False, memory_cleanup_interval=10)

        def many() -> None:
            for _ in range(250):
                request(monitor, wait=False)

        threads = [threading.Thread(target=many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        drained(monitor)
        counters = monitor.snapshot()
        assert (counters.requests, counters.in_flight) == (2000, 0)
        assert counters.objects_collected == 7 * counters.cleanups["periodic"]
        counted = [int(line.split()[4]) for line in lines(caplog)]
        assert sum(counted) == 2000
        assert all(count > 0 and count % 10 == 0 for count in counted)

    def test_a_burst_reads_the_usage_once(self, make: Make, machine: Machine) -> None:
        monitor = make(aggressive_memory_cleanup=False, memory_cleanup_interval=1000)
        machine.now, machine.reads = 1.0, 0
        for _ in range(20):
            request(monitor, wait=False)
        assert machine.reads == 1
        machine.now += 0.05
        request(monitor, wait=False)
        assert machine.reads == 2
        for _ in range(3):
            monitor.check()
        assert machine.reads == 5, "who asks explicitly gets a reading"

    def test_a_request_costs_little(self) -> None:
        """With the real readings, which happen once in 50 ms, and without the cleanup."""
        import timeit

        settings = MemorySettings(_env_file=None, aggressive_memory_cleanup=False, memory_cleanup_interval=10**9)
        monitor = MemoryMonitor(settings, clean=lambda _: 0)
        assert min(timeit.repeat(lambda: request(monitor, wait=False), number=50, repeat=5)) / 50 < 0.5e-3
        monitor.close()


class TestLevels:
    def test_with_hysteresis(self, make: Make, machine: Machine) -> None:
        monitor = make()
        expected: list[tuple[float, Level]] = [
            (600, "ok"),
            (600.1, "warning"),
            (570, "warning"),
            (569, "ok"),
            (599, "ok"),
            (801, "critical"),
            (760, "critical"),
            (759, "warning"),
            (799, "warning"),
            (801, "critical"),
            (100, "ok"),
        ]
        for usage, level in expected:
            machine.use(usage)
            assert monitor.check() == level == monitor.level, f"at {usage} MB"
        counters = monitor.snapshot()
        assert (counters.warnings, counters.criticals) == (1, 2)

    def test_each_crossing_is_logged_once(self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
        monitor = make()
        for usage in (620.54, 640, 580, 820.25, 830, 790):
            machine.use(usage)
            request(monitor)
            monitor.check()
        warned = [record for record in caplog.records if record.getMessage().startswith("⚠️")]
        assert [(record.levelno, record.getMessage()) for record in warned] == [
            (logging.WARNING, "⚠️  WARNING: Memory usage 620.5MB exceeds warning threshold 600MB"),
            (logging.CRITICAL, "⚠️  CRITICAL: Memory usage 820.2MB exceeds critical threshold 800MB"),
        ]
        assert warned[0].getMessage().encode().startswith(bytes.fromhex("e29aa0efb88f2020")), "the contract's bytes"
        machine.use(100)
        monitor.check()
        machine.use(700)
        monitor.check()
        assert sum("WARNING: Memory" in line for line in lines(caplog)) == 2, "a new crossing is a new line"

    def test_a_threshold_with_a_fraction_shows_it(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        machine.use(700)
        make(memory_warning_threshold_mb=612.5).check()
        assert "⚠️  WARNING: Memory usage 700.0MB exceeds warning threshold 612.5MB" in lines(caplog)

    def test_a_warning_drops_caches_before_a_full_cleanup(self, make: Make, machine: Machine) -> None:
        monitor = make()
        order: list[object] = []

        def drop(level: Level) -> None:
            order.extend((level, threading.current_thread().name, list(machine.generations)))

        monitor.on_pressure(drop)
        machine.use(700)
        monitor.check()
        monitor.check()
        drained(monitor)
        assert order == ["warning", f"{THREAD_PREFIX}_0", []]
        assert machine.generations == [2]
        assert monitor.snapshot().cleanups["periodic"] == 1

    def test_a_failing_callback_stops_nothing(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make()
        told: list[Level] = []

        def fail(level: Level) -> None:
            raise OSError("disk gone")

        monitor.on_pressure(fail)
        monitor.on_pressure(told.append)
        machine.use(900)
        monitor.check()
        drained(monitor)
        assert told == ["critical"]
        assert machine.generations == [2]
        assert "disk gone" in caplog.text

    def test_an_emergency_cleanup_at_once_and_again_after_ten_seconds(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make()
        levels: list[Level] = []
        monitor.on_pressure(levels.append)
        machine.use(900)
        counts = []
        for now in (0, 1, 5, 9.9, 10, 15, 19.9, 20):
            machine.now = now
            monitor.check()
            drained(monitor)
            counts.append(monitor.snapshot().cleanups["emergency"])
        assert counts == [1, 1, 1, 1, 2, 2, 2, 3]
        assert levels == ["critical"] * 3
        emergency = [record for record in caplog.records if "Emergency" in record.getMessage()]
        assert {(record.levelno, record.getMessage()) for record in emergency} == {
            (logging.WARNING, "🧹 Emergency cleanup: 7 objects, RSS: 890.0MB")
        }

    def test_the_level_comes_down_with_the_cleanup_and_nobody_has_to_ask(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make()
        machine.use(900)
        machine.after = 300
        assert monitor.check() == "critical"
        drained(monitor)
        assert monitor.level == "ok"
        assert monitor.snapshot().freed_mb == 600
        assert lines(caplog) == [
            "⚠️  CRITICAL: Memory usage 900.0MB exceeds critical threshold 800MB",
            "🧹 Emergency cleanup: 7 objects, RSS: 290.0MB",
            "Memory usage 300.0MB is no longer high",
        ]

    def test_an_ending_request_sees_it_too(self, make: Make, machine: Machine) -> None:
        monitor = make(aggressive_memory_cleanup=False)
        monitor.request_started()
        machine.now, machine.after = 1.0, 100
        machine.use(900)
        monitor.request_ended()
        assert monitor.snapshot().criticals == 1
        drained(monitor)
        assert monitor.snapshot().cleanups["emergency"] == 1

    def test_a_usage_that_cannot_be_read_stops_no_request(
        self, make: Make, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make()
        machine.error = OSError("no such cgroup")
        request(monitor)
        assert monitor.check() == "ok"
        assert "no such cgroup" in caplog.text
        machine.error, machine.now = None, 1.0
        request(monitor)
        assert monitor.snapshot().cleanups["request"] == 1


class TestCleanups:
    @pytest.mark.parametrize(("kind", "generation"), [("request", 1), ("periodic", 2), ("manual", 2), ("emergency", 2)])
    def test_young_garbage_after_a_request_and_all_of_it_else(
        self, make: Make, machine: Machine, kind: CleanupKind, generation: int
    ) -> None:
        cleanup = make().request_cleanup(kind).result(5)
        assert (cleanup.kind, cleanup.objects, cleanup.rss_mb) == (kind, 7, 90.0)
        assert machine.generations == [generation]

    def test_what_it_gave_back_is_never_negative(self, make: Make, machine: Machine) -> None:
        monitor = make()
        machine.after = 500
        assert monitor.request_cleanup("manual").result(5).freed_mb == 0
        machine.after = 150
        assert monitor.request_cleanup("manual").result(5).freed_mb == 350
        counters = monitor.snapshot()
        assert (counters.freed_mb, counters.objects_collected, counters.cleanups["manual"]) == (350, 14, 2)

    def test_a_snapshot_does_not_change(self, make: Make) -> None:
        monitor = make()
        before = monitor.snapshot()
        monitor.request_cleanup("manual").result(5)
        assert before.cleanups["manual"] == 0

    def test_a_failing_cleanup_is_no_request_s_business(
        self, make: Make, machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monitor = make()

        def fail(generation: int) -> int:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(monitor, "_clean", fail)
            request(monitor)
        assert "the request cleanup failed" in caplog.text
        request(monitor)
        assert monitor.snapshot().cleanups["request"] == 1

    def test_after_closing_everything_is_harmless(self, make: Make, machine: Machine) -> None:
        monitor = make()
        request(monitor)
        monitor.close()
        machine.use(900)
        machine.now = 1.0
        request(monitor, wait=False)
        assert monitor.check() == "critical"
        assert monitor.snapshot().requests == 2
        with pytest.raises(RuntimeError, match="closed"):
            monitor.request_cleanup("manual").result(5)
        assert machine.generations == [1]
