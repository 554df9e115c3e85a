"""What follows from critical memory: one shared cleanup, a refusal, and at last a new process."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

from app.core.errors import MemoryCritical
from app.core.memory_config import MemorySettings, Thresholds
from app.core.memory_guard import RECYCLE_SECONDS, RELIEF_SECONDS, MemoryGuard
from app.core.memory_monitor import Cleanup, CleanupKind, Level
from app.core.memory_usage import Usage


class Monitor:
    """As much of a monitor as the guard asks."""

    thresholds = Thresholds(750, 875)

    def __init__(self) -> None:
        self.level: Level = "critical"
        self.after: Level = "critical"
        self.asked: list[CleanupKind] = []
        self.error: Exception | None = None

    def check(self) -> Level:
        return self.level

    def request_cleanup(self, kind: CleanupKind) -> Future[Cleanup]:
        self.asked.append(kind)
        self.level = self.after
        future: Future[Cleanup] = Future()
        if self.error is None:
            future.set_result(Cleanup(kind, 1, 1.0, 0.1, 100.0))
        else:
            future.set_exception(self.error)
        return future


class World:
    """A guard with a clock and a usage that a test sets."""

    def __init__(self, recycle: bool = True) -> None:
        self.monitor = Monitor()
        self.now = 1000.0
        self.usage = Usage(200, 200, 1000)
        settings = MemorySettings(_env_file=None, memory_recycle=recycle)
        self.exhausted = False
        self.guard = MemoryGuard(
            settings,
            self.monitor,  # type: ignore[arg-type]
            lambda: self.usage,
            lambda: self.exhausted,
            lambda: self.now,
        )
        self.guard.started()


def test_where_memory_is_not_critical_nothing_is_done() -> None:
    world = World()
    world.monitor.level = "warning"
    asyncio.run(world.guard.make_room(lambda: 1))
    assert world.monitor.asked == []


def test_a_cleanup_that_helps_lets_the_request_through() -> None:
    world = World()
    world.monitor.after = "ok"
    asyncio.run(world.guard.make_room(lambda: 1))
    assert world.monitor.asked == ["emergency"]


def test_too_little_for_any_request_is_as_good_as_critical() -> None:
    world = World()
    world.monitor.level = world.monitor.after = "warning"
    world.exhausted = True
    assert world.guard.is_short()
    with pytest.raises(MemoryCritical):
        asyncio.run(world.guard.make_room(lambda: 1))
    assert world.monitor.asked == ["emergency"]
    world.usage = Usage(860, 850, 1000)
    world.guard.look(0)
    world.now += RECYCLE_SECONDS
    assert world.guard.look(0)


def test_many_requests_share_one_cleanup_and_are_all_refused() -> None:
    world = World()

    async def flood() -> list[object]:
        return await asyncio.gather(*(world.guard.make_room(lambda: 9) for _ in range(50)), return_exceptions=True)

    errors = asyncio.run(flood())
    assert all(isinstance(error, MemoryCritical) and error.retry_after == 9 for error in errors)
    assert world.monitor.asked == ["emergency"]
    asyncio.run(flood())
    assert world.monitor.asked == ["emergency"], "the last one is not long ago"
    world.now += RELIEF_SECONDS
    asyncio.run(flood())
    assert world.monitor.asked == ["emergency"] * 2


def test_a_cleanup_that_fails_is_no_failure_of_the_request() -> None:
    world = World()
    world.monitor.error = RuntimeError("closed")
    with pytest.raises(MemoryCritical):
        asyncio.run(world.guard.make_room(lambda: 1))


def test_a_process_is_given_up_when_it_stays_critical_and_idle() -> None:
    world = World()
    world.usage = Usage(900, 850, 1000)
    assert not world.guard.look(0)
    world.now += RECYCLE_SECONDS - 1
    assert not world.guard.look(0)
    world.now += 1
    assert not world.guard.look(1), "one is still served"
    assert world.guard.look(0)


def test_coming_down_in_between_begins_the_count_anew() -> None:
    world = World()
    world.usage = Usage(900, 850, 1000)
    world.guard.look(0)
    world.monitor.level = "ok"
    world.now += RECYCLE_SECONDS
    assert not world.guard.look(0)
    world.monitor.level = "critical"
    assert not world.guard.look(0)


def test_no_process_is_given_up_without_leave_or_for_what_others_hold() -> None:
    for world in (World(recycle=False), World()):
        if world.guard._recycle:
            world.usage = Usage(900, 250, 1000)  # a new process would take 200: 850 are not below the threshold
        else:
            world.usage = Usage(900, 850, 1000)
        world.guard.look(0)
        world.now += RECYCLE_SECONDS
        assert not world.guard.look(0)
