from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from app.core.memory_cleaner import THREAD_PREFIX, Cleanup, CleanupKind, Job, MemoryCleaner


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]


class Work:
    """A cleanup that says when it has begun and waits to be let go."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(self, job: Job) -> Cleanup:
        self.jobs.append(job)
        self.begun.release()
        assert self.go.acquire(timeout=5)
        if self.error is not None:
            raise self.error
        return Cleanup(job.kind, len(self.jobs), 0.0, 0.0, 1.0)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def cleaner(work: Work) -> Iterator[MemoryCleaner]:
    cleaner = MemoryCleaner(work)
    yield cleaner
    work.go.release(1000)
    cleaner.close()
    assert not threads()


def ask(cleaner: MemoryCleaner, kind: CleanupKind, **more: Any) -> Future[Cleanup]:
    future: Future[Cleanup] = Future()
    cleaner.ask(Job(kind, **more, futures=[future]))
    return future


def test_the_thread_is_started_with_the_first_cleanup(work: Work, cleaner: MemoryCleaner) -> None:
    assert not threads()
    future = ask(cleaner, "request")
    assert len(threads()) == 1
    work.go.release()
    assert future.result(5).kind == "request"


@pytest.mark.parametrize(
    ("kinds", "strongest"),
    [
        (["request", "periodic"], "periodic"),
        (["periodic", "request"], "periodic"),
        (["manual", "periodic", "request"], "manual"),
        (["periodic", "emergency"], "emergency"),
        (["emergency", "manual"], "emergency"),
    ],
)
def test_what_waits_is_joined_and_the_stronger_wins(
    work: Work, cleaner: MemoryCleaner, kinds: list[CleanupKind], strongest: str
) -> None:
    running = ask(cleaner, "emergency")
    assert work.begun.acquire(timeout=5)
    joined = [ask(cleaner, kind, requests=1) for kind in kinds]
    work.go.release(2)
    results = {future.result(5) for future in joined}
    assert len(results) == 1
    assert results.pop().kind == strongest
    assert running.result(5).objects == 1, "the one that ran already was not joined"
    assert [job.kind for job in work.jobs] == ["emergency", strongest]
    assert work.jobs[1].requests == len(kinds)


def test_the_highest_pressure_is_kept(work: Work, cleaner: MemoryCleaner) -> None:
    ask(cleaner, "request")
    assert work.begun.acquire(timeout=5)
    ask(cleaner, "emergency", pressure="critical")
    last = ask(cleaner, "periodic", pressure="warning")
    work.go.release(2)
    last.result(5)
    assert [job.pressure for job in work.jobs] == ["ok", "critical"]


def test_never_two_at_once_and_everyone_gets_an_answer_from_after_the_question() -> None:
    active = most = runs = 0

    def clean(job: Job) -> Cleanup:
        nonlocal active, most, runs
        active += 1
        most = max(most, active)
        runs += 1
        number = runs
        threading.Event().wait(0.001)
        active -= 1
        return Cleanup(job.kind, number, 0.0, 0.0, 0.0)

    cleaner = MemoryCleaner(clean)

    def many(_: int) -> bool:
        later = True
        for _ in range(20):
            began = runs
            later &= ask(cleaner, "request").result(10).objects > began
        return later

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(many, range(16)))
    cleaner.close()
    assert most == 1
    assert runs < 16 * 20 / 2, "most of them joined one that waited"


def test_a_failure_is_logged_and_told_and_the_thread_goes_on(
    work: Work, cleaner: MemoryCleaner, caplog: pytest.LogCaptureFixture
) -> None:
    work.error = OSError("no")
    work.go.release()
    with caplog.at_level(logging.ERROR, "app.memory"), pytest.raises(OSError, match="no"):
        ask(cleaner, "periodic").result(5)
    assert "the periodic cleanup failed" in caplog.text
    thread = threads()
    work.error = None
    work.go.release()
    assert ask(cleaner, "request").result(5).objects == 2
    assert threads() == thread


def test_one_who_gives_up_takes_nothing_from_the_others(work: Work, cleaner: MemoryCleaner) -> None:
    ask(cleaner, "request")
    assert work.begun.acquire(timeout=5)
    impatient, patient = ask(cleaner, "manual"), ask(cleaner, "manual")
    assert impatient.cancel()
    work.go.release(2)
    assert patient.result(5).kind == "manual"
    assert impatient.cancelled()


def test_closing_drops_what_waits_and_ends_the_thread(work: Work, cleaner: MemoryCleaner) -> None:
    running = ask(cleaner, "request")
    assert work.begun.acquire(timeout=5)
    waiting = ask(cleaner, "emergency")
    closing = threading.Thread(target=cleaner.close)
    closing.start()
    with pytest.raises(RuntimeError, match="closed"):
        waiting.result(5)
    assert closing.is_alive(), "it waits for the one that runs"
    work.go.release()
    closing.join(5)
    assert not threads()
    assert running.result(0).kind == "request"
    with pytest.raises(RuntimeError, match="closed"):
        ask(cleaner, "manual").result(5)
    cleaner.close()
    assert len(work.jobs) == 1


def test_closing_from_within_a_cleanup_does_not_wait_for_itself() -> None:
    cleaner: MemoryCleaner

    def clean(job: Job) -> Cleanup:
        cleaner.close()
        return Cleanup(job.kind, 0, 0.0, 0.0, 0.0)

    cleaner = MemoryCleaner(clean)
    assert ask(cleaner, "manual").result(5).kind == "manual"
    for thread in threads():
        thread.join(5)
    assert not threads()


def test_where_no_thread_can_be_had_the_caller_is_told(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaner = MemoryCleaner(work)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            ask(cleaner, "request").result(5)
    work.go.release()
    assert ask(cleaner, "request").result(5).objects == 1, "there is one again"
    cleaner.close()


@pytest.fixture(autouse=True)
def nothing_is_left(wait_for: Callable[..., None]) -> Iterator[None]:
    yield
    wait_for(lambda: not threads())
