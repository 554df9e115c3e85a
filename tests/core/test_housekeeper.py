"""Chores come again and again, whatever happens to one of them, until the service closes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from app.core.housekeeper import THREAD_NAME, Chore, Housekeeper

OFTEN, NEVER = 0.002, 3600.0


class Counted:
    """Something to do that says when it has been done so many times."""

    def __init__(self, times: int, then: Callable[[], object] = lambda: None) -> None:
        self.enough = threading.Event()
        self.done = 0
        self._times = times
        self._then = then

    def __call__(self) -> None:
        self.done += 1
        if self.done >= self._times:
            self.enough.set()
        self._then()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


def test_each_chore_comes_again_and_again() -> None:
    one, other = Counted(3), Counted(3)
    housekeeper = Housekeeper([Chore(one, OFTEN), Chore(other, 2 * OFTEN)])
    housekeeper.open()
    assert one.enough.wait(5)
    assert other.enough.wait(5)
    assert len(threads()) == 1
    housekeeper.close()
    assert threads() == []


def test_a_chore_waits_for_its_first_time_and_does_not_hold_up_the_others() -> None:
    rare, often = Counted(1), Counted(5)
    housekeeper = Housekeeper([Chore(rare, NEVER), Chore(often, OFTEN)])
    housekeeper.open()
    assert often.enough.wait(5)
    housekeeper.close()
    assert rare.done == 0


def test_closing_does_not_wait_for_the_next_time() -> None:
    housekeeper = Housekeeper([Chore(Counted(1), NEVER)])
    housekeeper.open()
    closed = threading.Thread(target=housekeeper.close)
    closed.start()
    closed.join(5)
    assert not closed.is_alive()
    assert threads() == []


def test_a_chore_that_fails_is_logged_and_comes_again(caplog: pytest.LogCaptureFixture) -> None:
    failing = Counted(3, then=lambda: 1 // 0)
    after = Counted(1)
    housekeeper = Housekeeper([Chore(failing, OFTEN), Chore(after, OFTEN)])
    with caplog.at_level(logging.ERROR):
        housekeeper.open()
        assert failing.enough.wait(5)
        assert after.enough.wait(5)
        housekeeper.close()
    record = caplog.records[0]
    assert record.getMessage() == "a chore failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_closing_lets_a_chore_finish() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(5)
        ended.set()

    housekeeper = Housekeeper([Chore(work, OFTEN)])
    housekeeper.open()
    assert begun.wait(5)
    closing = threading.Thread(target=housekeeper.close)
    closing.start()
    assert closing.is_alive()
    may_end.set()
    closing.join(5)
    assert not closing.is_alive()
    assert ended.is_set()
    assert threads() == []


def test_it_may_be_opened_and_closed_more_than_once() -> None:
    chore = Counted(1)
    housekeeper = Housekeeper([Chore(chore, OFTEN)])
    housekeeper.close()
    for _ in range(2):
        chore.enough.clear()
        housekeeper.open()
        housekeeper.open()
        assert len(threads()) == 1
        assert chore.enough.wait(5)
        housekeeper.close()
        housekeeper.close()
        assert threads() == []


def test_without_chores_there_is_no_thread() -> None:
    housekeeper = Housekeeper([])
    housekeeper.open()
    assert threads() == []
    housekeeper.close()
