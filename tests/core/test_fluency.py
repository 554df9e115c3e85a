from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.fluency import SYLLABLES_PER_WORD, Fluency, measure_fluency
from app.core.phonemes import PHONEMES

# "a cat ... sat": 0.6 s, a pause of 0.4 s, 0.5 s; a gap of 0.1 s inside "cat" is the closure of a stop.
CAT_SAT = [
    ("AH", 0.5, 0.6),
    ("K", 0.6, 0.7),
    ("AE", 0.7, 0.9),
    ("T", 1.0, 1.1),
    ("S", 1.5, 1.6),
    ("AE", 1.6, 1.9),
    ("T", 1.9, 2.0),
]


def test_rates_and_pauses_of_a_sentence() -> None:
    fluency = measure_fluency(CAT_SAT, 3, 3.0)
    assert fluency.pauses == ((1.1, 1.5),)
    assert fluency.speech_duration == pytest.approx(1.1)
    assert fluency.phonation_ratio == pytest.approx(1.1 / 1.5)
    assert fluency.articulation_rate == pytest.approx(3 / 1.1)
    assert fluency.words_per_minute == pytest.approx(3 / 1.5 * 60)


def test_silence_before_and_after_is_no_pause() -> None:
    moved = [(phoneme, start + 5, end + 5) for phoneme, start, end in CAT_SAT]
    assert len(measure_fluency(moved, 3, 20.0).pauses) == 1
    assert measure_fluency(moved, 3, 20.0).phonation_ratio == pytest.approx(1.1 / 1.5)


def test_without_a_text_the_words_are_estimated_from_the_syllables() -> None:
    rate = measure_fluency(CAT_SAT, None, 3.0).words_per_minute
    assert rate == pytest.approx(3 / SYLLABLES_PER_WORD / 1.5 * 60)


def test_the_shortest_pause_can_be_chosen() -> None:
    assert len(measure_fluency(CAT_SAT, 3, 3.0, min_pause=0.05).pauses) == 2
    assert measure_fluency(CAT_SAT, 3, 3.0, min_pause=0.5).pauses == ()
    assert measure_fluency(CAT_SAT, 3, 3.0, min_pause=0.5).phonation_ratio == 1


def test_a_recording_in_which_nothing_was_heard() -> None:
    assert measure_fluency([], 3, 2.0) == Fluency(None, None, 0.0, (), 0.0)


def test_a_sound_within_another_makes_no_pause() -> None:
    assert measure_fluency([("AE", 0, 1), ("T", 0.1, 0.2), ("S", 1.05, 1.3)], 1, 2).pauses == ()


def test_the_last_frame_may_reach_beyond_the_recording() -> None:
    fluency = measure_fluency([("AE", 0.0, 0.5), ("T", 0.9, 1.02), ("S", 1.02, 1.04)], 1, 1.0)
    assert fluency.pauses == ((0.5, 0.9),)
    assert fluency.speech_duration == pytest.approx(0.6)


@st.composite
def heard(draw: st.DrawFn) -> list[tuple[str, float, float]]:
    starts = sorted(draw(st.lists(st.floats(-0.1, 10.1), max_size=20)))
    lengths = draw(st.lists(st.floats(0, 2), min_size=len(starts), max_size=len(starts)))
    return [(draw(st.sampled_from(PHONEMES)), a, a + b) for a, b in zip(starts, lengths, strict=True)]


@given(phonemes=heard(), words=st.none() | st.integers(0, 30), min_pause=st.floats(0.01, 1))
def test_pauses_are_apart_and_in_order_within_the_recording(
    phonemes: list[tuple[str, float, float]], words: int | None, min_pause: float
) -> None:
    fluency = measure_fluency(phonemes, words, 10.0, min_pause=min_pause)
    assert all(end - start >= min_pause for start, end in fluency.pauses)
    assert all(0 <= start < end <= 10 for start, end in fluency.pauses)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(fluency.pauses))
    assert 0 <= fluency.phonation_ratio <= 1
    assert 0 <= fluency.speech_duration <= 10
    for rate in (fluency.words_per_minute, fluency.articulation_rate):
        assert rate is None or rate >= 0
