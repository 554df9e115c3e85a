"""What is measured of aligned phonemes: places, timing and delivery are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.phoneme_tokens import (
    DELIVERY,
    PLACES,
    SEGMENT_FRAMES,
    STRESSES,
    TIMING,
    PhonemeTokens,
    phoneme_tokens,
    places_in_words,
    segment_frames,
    stress_indices,
    timing,
)
from app.core.phonemes import PHONEMES

FRAME = 0.02


def ids(*phonemes: str) -> list[int]:
    return [PHONEMES.index(phoneme) for phoneme in phonemes]


def tokens(segments: list[tuple[int, int, int]], sizes: list[int], frames: int = 100) -> PhonemeTokens:
    """Of schwas."""
    count = sum(sizes)
    pitch = np.zeros((frames, 2), np.float32)
    columns = np.array(segments).T
    return phoneme_tokens(ids(*["AH"] * count), [0] * count, sizes, columns, pitch=pitch, frame_seconds=FRAME)


def test_a_lone_vowel_is_stressed_and_consonants_never_are() -> None:
    assert [STRESSES[i] for i in stress_indices(ids("DH", "AH"), [None, 0])] == [None, 1]
    assert [STRESSES[i] for i in stress_indices(ids("AE", "P", "AH", "L"), [1, None, 0, None])] == [1, None, 0, None]
    assert [STRESSES[i] for i in stress_indices(ids("AE", "P", "AH", "L"), [None] * 4)] == [None] * 4
    assert [STRESSES[i] for i in stress_indices(ids("S"), [None])] == [None]


def test_places_in_words() -> None:
    places = places_in_words(np.array([1, 2, 4]))
    assert [PLACES[i] for i in places] == ["alone", "first", "last", "first", "inside", "inside", "last"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_each_word_has_a_first_and_a_last_phoneme_or_one_alone(sizes: list[int]) -> None:
    places = [PLACES[i] for i in places_in_words(np.array(sizes))]
    assert places.count("alone") == sizes.count(1)
    assert places.count("first") == places.count("last") == len(sizes) - sizes.count(1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, SEGMENT_FRAMES)), min_size=1, max_size=10))
def test_segments_have_their_frames_and_stay_inside_the_recording(gaps: list[tuple[int, int]]) -> None:
    starts, ends, at = [], [], 0
    for gap, length in gaps:
        starts.append(at + gap)
        ends.append(at := at + gap + length)
    indices, mask = segment_frames(np.array(starts), np.array(ends), at)
    assert indices.shape == mask.shape == (len(gaps), SEGMENT_FRAMES)
    assert indices.max() < at
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        assert indices[row][mask[row] > 0].tolist() == list(range(start, end))


def test_timing_is_as_its_columns_say() -> None:
    figures = timing(np.array([2, 5, 30]), np.array([5, 9, 31]), np.array([3, 7, 30]))
    named = dict(zip(TIMING, figures.T, strict=True))
    assert np.exp(named["length"]) == pytest.approx([3, 4, 1])
    assert np.expm1(named["gap_before"]) == pytest.approx([0, 0, 21])
    assert np.expm1(named["gap_after"]) == pytest.approx([0, 21, 0])
    assert np.expm1(named["step_before"]) == pytest.approx([0, 4, 23])
    assert np.expm1(named["step_after"]) == pytest.approx([4, 23, 0])
    assert named["position"] == pytest.approx([1 / 3, 2 / 3, 1])


def test_delivery_is_as_its_columns_say() -> None:
    """Two words, a second of speech and half a second between, the second an octave higher."""
    pitch = np.zeros((90, 2), np.float32)
    pitch[10:35, 1] = pitch[60:85, 1] = 1
    pitch[60:85, 0] = 1
    columns = np.array([[10, 22, 60], [22, 35, 85], [15, 30, 70]])
    measured = phoneme_tokens(
        ids("AE", "T", "IY"), [1, 0, 1], [2, 1], np.array(columns), pitch=pitch, frame_seconds=FRAME
    )
    named = dict(zip(DELIVERY, measured.delivery.tolist(), strict=True))
    assert named["words_per_second"] * 3 == pytest.approx(2 / 1.5)
    assert named["vowels_per_second"] * 5 == pytest.approx(2 / 1.0)
    assert named["phonation_ratio"] == pytest.approx(1 / 1.5)
    assert named["pauses_per_word"] == pytest.approx(0.5)
    assert named["pause_seconds_per_word"] == pytest.approx(0.25)
    assert named["longest_pause"] == pytest.approx(0.5)
    assert named["pitch_range"] == pytest.approx(1)
    assert named["pitch_deviation"] / 3 == pytest.approx(0.5)
    assert np.exp(4 * named["phonemes"]) == pytest.approx(3)
    assert 0.1 * np.exp(named["phoneme_seconds"]) == pytest.approx(1 / 3)


def test_membership_says_which_phonemes_a_word_has() -> None:
    measured = tokens([(0, 2, 1), (2, 4, 3), (4, 6, 5)], [1, 2])
    assert measured.words.tolist() == [[1, 0, 0], [0, 1, 1]]


def test_one_phoneme_without_pitch_is_measured_too() -> None:
    measured = tokens([(4, 5, 4)], [1])
    assert np.isfinite(measured.delivery).all()
    assert np.isfinite(measured.timing).all()
    assert measured.delivery[DELIVERY.index("pitch_range")] == 0


def test_when_a_recording_starts_changes_nothing() -> None:
    segments = [(0, 3, 1), (3, 8, 5), (30, 33, 31)]
    early, late = tokens(segments, [2, 1]), tokens([(a + 40, b + 40, c + 40) for a, b, c in segments], [2, 1])
    assert np.array_equal(early.timing, late.timing)
    assert np.array_equal(early.delivery, late.delivery)
    assert np.array_equal(early.indices + 40, late.indices)
