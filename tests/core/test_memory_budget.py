"""What is promised never adds up beyond the threshold."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import MemoryCritical, TooLarge
from app.core.memory_budget import MemoryBudget, analysis_mb, upload_mb
from app.core.memory_usage import Usage


class Memory:
    """Usage that a test sets."""

    def __init__(self, mb: float = 100) -> None:
        self.mb = mb

    def __call__(self) -> Usage:
        return Usage(self.mb, self.mb, 1000)


def test_promises_add_up_before_anything_is_used() -> None:
    budget = MemoryBudget(200, Memory(), lambda: 7)
    with budget.promise(60):
        with pytest.raises(MemoryCritical) as refused, budget.promise(60):
            pass
        assert refused.value.retry_after == 7
        with budget.promise(40):
            assert budget.promised_mb == 100
    with budget.promise(100):
        pass
    assert budget.promised_mb == 0


def test_what_is_used_of_a_promise_is_not_counted_twice() -> None:
    memory = Memory(100)
    budget = MemoryBudget(200, memory, lambda: 1)
    with budget.promise(60):
        memory.mb = 160
        with budget.promise(40):
            pass


def test_what_is_in_use_beyond_all_promises_counts() -> None:
    memory = Memory(100)
    budget = MemoryBudget(200, memory, lambda: 1)
    with budget.promise(10):
        memory.mb = 190
        with pytest.raises(MemoryCritical), budget.promise(20):
            pass


def test_what_can_never_fit_is_too_large_and_names_the_field() -> None:
    memory = Memory(100)
    budget = MemoryBudget(200, memory, lambda: 1)
    assert budget.largest_mb() == 100
    with pytest.raises(TooLarge, match="101 MB") as refused, budget.promise(101, field="audio"):
        pass
    assert refused.value.field == "audio"
    memory.mb = 150  # grown since: it has fitted once, so that it may again
    with pytest.raises(MemoryCritical), budget.promise(90):
        pass


def test_a_promise_is_taken_back_after_an_error() -> None:
    budget = MemoryBudget(200, Memory(), lambda: 1)
    with pytest.raises(KeyError), budget.promise(90):
        raise KeyError
    assert budget.promised_mb == 0


def test_without_a_limit_everything_fits() -> None:
    with MemoryBudget.unlimited().promise(1e9):
        pass


@given(st.lists(st.floats(0, 60), max_size=30))
def test_admitted_promises_never_exceed_the_threshold(wanted: list[float]) -> None:
    budget = MemoryBudget(200, Memory(), lambda: 1)
    with ExitStack() as stack:
        for mb in wanted:
            try:
                stack.enter_context(budget.promise(mb))
            except MemoryCritical:
                assert 100 + budget.promised_mb + mb > 200
        assert 100 + budget.promised_mb <= 200 + 1e-9
    assert budget.promised_mb == 0


@given(st.floats(0, 500), st.floats(0, 500))
def test_longer_recordings_are_never_expected_to_take_less(one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert 0 < analysis_mb(short) <= analysis_mb(long)


def test_a_json_body_takes_more_than_a_form() -> None:
    assert upload_mb(2**20, is_json=True) > upload_mb(2**20, is_json=False) > 1
