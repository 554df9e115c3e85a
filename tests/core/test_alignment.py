"""Forced alignment: what a caller relies on whatever the frames say."""

from __future__ import annotations

import itertools
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.alignment import (
    FRAMES_BETWEEN_LOOKS,
    MAX_FRAMES_BEYOND_PEAK,
    MAX_STATES,
    Alignment,
    Penalties,
    align,
    alignment_mb,
    segments_around,
)
from app.core.errors import AnalysisTimeout, InvalidInput

CLASSES = 6


def posteriors(frames: list[int], certainty: float = 0.99, classes: int = CLASSES) -> NDArray[np.float32]:
    """Log-posteriors that say the given class in each frame."""
    probs = np.full((len(frames), classes), (1 - certainty) / (classes - 1), dtype=np.float32)
    probs[np.arange(len(frames)), frames] = certainty
    return np.log(probs)


def check(alignment: Alignment, words: list[list[list[int]]], frames: int) -> None:
    """What holds for every alignment."""
    assert len(alignment.words) == len(words)
    last_peak, last_end = -1, 0
    for word, candidates in zip(alignment.words, words, strict=True):
        if word is None:
            continue
        count = len(candidates[word.candidate])
        assert len(word.peaks) == len(word.starts) == len(word.ends) == count
        for peak, start, end in zip(word.peaks, word.starts, word.ends, strict=True):
            assert last_peak < peak
            assert last_end <= start <= peak < end <= frames
            assert peak - start <= MAX_FRAMES_BEYOND_PEAK
            assert end - peak - 1 <= MAX_FRAMES_BEYOND_PEAK
            last_peak, last_end = peak, end
    for filler in alignment.fillers:
        assert 0 <= filler.start < filler.end <= frames
        assert 0 <= filler.before <= len(words)
        for word in alignment.words:
            if word is not None:
                spans = zip(word.starts, word.ends, strict=True)
                assert all(end <= filler.start or start >= filler.end for start, end in spans)


def test_phonemes_are_found_where_they_are_said() -> None:
    log_probs = posteriors([0, 1, 1, 0, 2, 0, 0, 3, 0])
    alignment = align(log_probs, [[[1, 2]], [[3]]])
    check(alignment, [[[1, 2]], [[3]]], 9)
    first, second = alignment.words
    assert first is not None
    assert second is not None
    assert [first.peaks[1], second.peaks[0]] == [4, 7]
    assert first.peaks[0] in (1, 2)
    assert not alignment.fillers


def test_the_variant_that_was_said_is_chosen() -> None:
    alignment = align(posteriors([0, 1, 0, 4, 0]), [[[1, 2], [1, 3], [1, 4]]])
    assert alignment.words[0] is not None
    assert alignment.words[0].candidate == 2


def test_a_word_left_out_is_an_omission_and_the_others_stay() -> None:
    words = [[[1, 2]], [[3, 4, 3]], [[5, 1]]]
    alignment = align(posteriors([0, 1, 0, 2, 0, 0, 0, 5, 0, 1, 0], certainty=0.9999), words)
    assert [word is None for word in alignment.words] == [False, True, False]


def test_part_of_the_text_gives_omissions_before_and_after() -> None:
    words = [[[1, 2]], [[3, 4]], [[5, 1]]]
    alignment = align(posteriors([0, 3, 0, 4, 0]), words)
    assert [word is None for word in alignment.words] == [True, False, True]


def test_extra_speech_is_an_insertion_between_its_neighbours() -> None:
    words = [[[1, 2]], [[3, 4]]]
    alignment = align(posteriors([1, 0, 2, 0, 5, 0, 1, 0, 5, 0, 5, 0, 3, 0, 4]), words)
    assert all(alignment.words)
    (filler,) = alignment.fillers
    assert filler.before == 1
    assert filler.start <= 4
    assert filler.end >= 11


def test_a_mispronounced_phoneme_keeps_its_word() -> None:
    alignment = align(posteriors([0, 1, 0, 5, 0, 3, 0], certainty=0.95), [[[1, 2, 3]]])
    assert alignment.words[0] is not None
    assert alignment.words[0].peaks == (1, 3, 5)


def test_a_doubled_phoneme_inside_a_word_needs_a_blank_between() -> None:
    once = align(posteriors([0, 1, 1, 0, 0]), [[[1, 1]]], Penalties(skip_word=100))
    assert once.words[0] is not None
    assert once.words[0].peaks[1] - once.words[0].peaks[0] >= 2


def test_equal_phonemes_of_two_words_may_share_a_long_peak() -> None:
    alignment = align(posteriors([0, 2, 0, 1, 1, 0, 3, 0]), [[[2, 1]], [[1, 3]]])
    first, second = alignment.words
    assert first is not None
    assert second is not None
    assert (first.peaks[1], second.peaks[0]) == (3, 4)


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_too_few_frames_leave_words_out(frames: int) -> None:
    words = [[[1, 2, 3, 4]], [[5, 1, 2, 3, 4]]]
    alignment = align(posteriors([0] * frames), words)
    assert alignment.words == (None, None)


def test_no_words_leave_nothing_but_fillers() -> None:
    alignment = align(posteriors([0, 1, 2, 3, 4, 5, 0]), [])
    assert alignment.words == ()
    assert all(filler.before == 0 for filler in alignment.fillers)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_alignment_is_in_order_and_inside_the_recording(data: st.DataObject) -> None:
    frames = data.draw(st.integers(0, 25))
    candidates = st.lists(st.integers(1, CLASSES - 1), min_size=1, max_size=4)
    words = data.draw(st.lists(st.lists(candidates, min_size=1, max_size=3), max_size=5))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    logits = rng.normal(0, data.draw(st.sampled_from([0.1, 2.0, 8.0])), (frames, CLASSES))
    log_probs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    check(align(log_probs, words), words, frames)


def best_plain_ctc_path(log_probs: NDArray[np.float32], phonemes: list[int]) -> float:
    """The best CTC path by trying them all."""
    best = -np.inf
    for path in itertools.product([0, *set(phonemes)], repeat=len(log_probs)):
        collapsed = [c for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c)]
        if collapsed == phonemes:
            best = max(best, float(log_probs[np.arange(len(path)), list(path)].sum()))
    return best


@settings(max_examples=60, deadline=None)
@given(
    phonemes=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    frames=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_path_of_one_word_is_the_best_ctc_path(phonemes: list[int], frames: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, 3))
    log_probs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    exact = best_plain_ctc_path(log_probs, phonemes)
    forbidding = Penalties(skip_word=1e4, skip_phoneme=0, enter_filler=1e5, filler_frame=0)
    word = align(log_probs, [[phonemes]], forbidding).words[0]
    assert (word is None) == (exact == -np.inf)
    if word is not None:  # no other path says these phonemes at these peaks better, so the best one must do so too
        assert best_path_through(log_probs, phonemes, word.peaks) == pytest.approx(exact, abs=1e-3)


def best_path_through(log_probs: NDArray[np.float32], phonemes: list[int], peaks: tuple[int, ...]) -> float:
    """The best CTC path that says each phoneme at its peak, by trying them all."""
    best = -np.inf
    for path in itertools.product([0, *set(phonemes)], repeat=len(log_probs)):
        runs = [(c, i) for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c)]
        if [c for c, _ in runs] != phonemes:
            continue
        covered = []
        for c, i in runs:
            end = i
            while end < len(path) and path[end] == c:
                end += 1
            covered.append(range(i, end))
        if all(peak in frames for peak, frames in zip(peaks, covered, strict=True)):
            best = max(best, float(log_probs[np.arange(len(path)), list(path)].sum()))
    return best


@given(
    st.lists(st.integers(0, 200), max_size=20, unique=True).map(sorted),
    st.integers(0, 50),
)
def test_segments_hold_their_peaks_and_do_not_overlap(peaks: list[int], beyond: int) -> None:
    frames = (peaks[-1] if peaks else 0) + 1 + beyond
    segments = segments_around([(p, p + 1) for p in peaks], frames)
    end = 0
    for peak, segment in zip(peaks, segments, strict=True):
        assert end <= segment[0] <= peak < segment[1] <= frames
        end = segment[1]


def a_text(words: int, candidates: int, phonemes: int) -> list[list[list[int]]]:
    """So many words, each with so many candidates, which differ."""
    return [[[1 + (w + c + i) % 5 for i in range(phonemes)] for c in range(candidates)] for w in range(words)]


@pytest.mark.parametrize(
    ("frames", "words", "candidates", "phonemes"),
    [(0, 1, 1, 1), (0, 1000, 1, 1), (150, 8, 2, 3), (1500, 80, 3, 4), (1000, 300, 1, 3), (2000, 306, 4, 4)],
)
@pytest.mark.parametrize("fast", [False, True])
def test_the_memory_of_an_alignment_is_known_before(
    frames: int, words: int, candidates: int, phonemes: int, *, fast: bool
) -> None:
    text = a_text(words, candidates, phonemes)
    said = [p for word in text for p in word[0]] if fast else []  # a phoneme in every frame, or none
    log_probs = posteriors((said + [0] * frames)[:frames])
    align(log_probs[:1], text[:1])  # what is loaded once
    bound = alignment_mb(frames, text)
    tracemalloc.start()
    try:
        align(log_probs, [[list(candidate) for candidate in word] for word in text])
        peak = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
    assert peak <= bound <= 4 * peak + 1


def test_no_text_takes_much_memory() -> None:
    """However the words share out the states that a text may have; 6,000 frames are two minutes."""
    for words, candidates, phonemes in [(1000, 8, 18), (1000, 1, 19), (66, 1, 300), (1000, 8, 2), (200, 8, 300)]:
        try:
            assert alignment_mb(6000, a_text(words, candidates, phonemes)) < 80
        except InvalidInput:
            assert words * (2 * phonemes - 1) > MAX_STATES / 2
    assert alignment_mb(150, a_text(1000, 8, 18)) < 10  # a text far too long for three seconds


@pytest.mark.parametrize("reading", range(8))
def test_a_text_with_too_many_readings_is_aligned_with_the_likely_ones(reading: int) -> None:
    marked = [[10 + c] for c in range(8)]
    said = posteriors([0, 10 + reading, 0], classes=18)
    ordinary = align(said, [marked, *a_text(940, 3, 5), *a_text(50, 8, 15)]).words[0]
    assert ordinary is not None
    assert ordinary.candidate == reading
    crowded = align(said, [marked, *a_text(300, 8, 20)]).words[0]
    assert (crowded is not None and crowded.candidate == reading) == (reading < MAX_STATES // (300 * 39))


def test_a_text_that_no_recording_can_hold_is_refused() -> None:
    text = a_text(1000, 2, 21)
    for attempt in (lambda: align(posteriors([0] * 3), text), lambda: alignment_mb(3, text)):
        with pytest.raises(InvalidInput, match="longer to say") as refused:
            attempt()
        assert refused.value.field == "text"


class SetAfter(threading.Event):
    """An event that is set when it has been looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_an_alignment_that_nobody_waits_for_stops() -> None:
    log_probs = posteriors([0] * (3 * FRAMES_BETWEEN_LOOKS))
    stopped = SetAfter(2)
    with pytest.raises(AnalysisTimeout):
        align(log_probs, [[[1, 2]]], cancelled=stopped)
    assert stopped.looks == -1, "half-way through, not only at its start"
    assert align(log_probs, [[[1, 2]]], cancelled=threading.Event()) == align(log_probs, [[[1, 2]]])
