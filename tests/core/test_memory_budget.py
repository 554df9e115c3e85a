"""What is promised never adds up beyond the threshold."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import MemoryCritical, TooLarge
from app.core.memory_budget import MemoryBudget, analysis_mb, decoding_mb, upload_mb
from app.core.memory_usage import Usage


class Memory:
    """Usage that a test sets."""

    def __init__(self, mb: float = 100) -> None:
        self.mb = mb

    def __call__(self) -> Usage:
        return Usage(self.mb, self.mb, 1000)


def make(memory: Memory, retry_after: int = 1, **arguments: Any) -> MemoryBudget:
    budget = MemoryBudget(200, memory, lambda: retry_after, **arguments)
    budget.started()
    return budget


def test_promises_add_up_before_anything_is_used() -> None:
    budget = make(Memory(), 7)
    with budget.promise(60):
        with pytest.raises(MemoryCritical) as refused, budget.promise(60):
            pass
        assert refused.value.retry_after == 7
        with budget.promise(40):
            assert budget.promised_mb == 100
    with budget.promise(100):
        pass
    assert budget.promised_mb == 0


def test_an_upload_that_is_there_counts_among_what_is_in_use() -> None:
    memory = Memory(100)
    budget = make(memory)
    with budget.promise_upload(60) as upload:
        memory.mb = 160
        with pytest.raises(MemoryCritical), budget.promise(30):
            pass
        upload.use()
        with budget.promise(40):
            pass


def test_uploads_leave_room_for_the_analyses_they_wait_for() -> None:
    budget = make(Memory(100), reserve_mb=40)
    with budget.promise_upload(60), pytest.raises(MemoryCritical), budget.promise_upload(1):
        pass
    with budget.promise_upload(60), budget.promise(40):
        pass


def test_the_reserve_is_never_more_than_half_of_what_there_is() -> None:
    budget = make(Memory(100), reserve_mb=90)
    assert not budget.is_exhausted()
    with budget.promise_upload(50):
        pass


def test_a_body_of_unknown_length_is_promised_as_it_comes() -> None:
    budget = make(Memory(100))
    with budget.promise_upload(0) as upload:
        upload.extend(50)
        upload.extend(40)
        with pytest.raises(MemoryCritical), budget.promise(20):
            pass
        with pytest.raises(TooLarge):
            upload.extend(20)
        assert budget.promised_mb == 90
    assert budget.promised_mb == 0


def test_what_is_in_use_beyond_all_promises_counts() -> None:
    memory = Memory(100)
    budget = make(memory)
    with budget.promise(10):
        memory.mb = 190
        with pytest.raises(MemoryCritical), budget.promise(20):
            pass


def test_memory_that_came_down_can_be_promised_though_something_always_runs() -> None:
    memory = Memory(180)
    budget = make(Memory(100))
    budget._usage = memory
    with ExitStack() as always:
        always.enter_context(budget.promise(10))
        memory.mb = 110
        with budget.promise(60):
            pass


def test_a_cleanup_is_tried_before_an_analysis_is_turned_away_and_not_before_an_upload_is() -> None:
    memory = Memory(190)

    def relieve() -> None:
        memory.mb -= 50

    budget = MemoryBudget(200, memory, lambda: 1, relieve=relieve)
    with budget.promise(40):
        pass
    memory.mb = 190
    with pytest.raises(MemoryCritical), budget.promise_upload(40):  # on the event loop, where nothing may block
        pass
    assert memory.mb == 190


def test_what_can_never_fit_is_too_large_and_names_the_field() -> None:
    memory = Memory(100)
    budget = make(memory)
    assert budget.largest_mb() == 100
    with pytest.raises(TooLarge, match="101 MB") as refused, budget.promise(101, field="audio"):
        pass
    assert refused.value.field == "audio"
    memory.mb = 150  # grown since the start: it may come down again
    with pytest.raises(MemoryCritical), budget.promise(90):
        pass


def test_it_is_exhausted_where_nothing_runs_and_nothing_fits() -> None:
    memory = Memory(100)
    budget = make(memory, reserve_mb=40)
    assert not budget.is_exhausted()
    memory.mb = 161
    assert budget.is_exhausted()
    with budget.promise(1):
        assert not budget.is_exhausted(), "what runs may give its memory back"


def test_a_promise_is_taken_back_after_an_error() -> None:
    budget = make(Memory())
    with pytest.raises(KeyError), budget.promise(90):
        raise KeyError
    assert budget.promised_mb == 0


def test_without_a_limit_everything_fits() -> None:
    with MemoryBudget.unlimited().promise(1e9):
        pass


@given(st.lists(st.floats(0, 60), max_size=30))
def test_admitted_promises_never_exceed_the_threshold(wanted: list[float]) -> None:
    budget = make(Memory())
    with ExitStack() as stack:
        for mb in wanted:
            try:
                stack.enter_context(budget.promise(mb))
            except MemoryCritical:  # each alone would fit
                assert 100 + budget.promised_mb + mb > 200
        assert 100 + budget.promised_mb <= 200 + 1e-9
    assert budget.promised_mb == 0


@given(st.floats(0, 500), st.floats(0, 500))
def test_longer_recordings_are_never_expected_to_take_less(one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert 0 < analysis_mb(short) <= analysis_mb(long)


def test_uploads_are_expected_to_take_more_than_their_size() -> None:
    assert upload_mb(2**20, is_json=False) > upload_mb(2**20, is_json=True) > 2
    assert upload_mb(0, is_json=False) > 0


def test_decoding_is_expected_to_take_what_the_file_can_be_at_most() -> None:
    assert decoding_mb(2**20, 120) == pytest.approx(1 + 120 * 0.1221, rel=1e-3)
    assert decoding_mb(5_000, 120) == pytest.approx(10 * 0.1221 + 5_000 / 2**20, rel=1e-3)
