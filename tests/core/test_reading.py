"""The best reading of a stretch is the best of all readings, and says what was said."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.phonemes import CLASS_IDS, CLASSES
from app.core.reading import MAX_CELLS, ChangeCosts, best_reading

Sequence = tuple[int, ...]
COSTS = st.builds(ChangeCosts, *[st.floats(0, 8)] * 3)
LABELS = st.integers(1, 39)
WORDS = st.lists(LABELS, min_size=1, max_size=12)


def edit_cost(expected: Sequence, said: Sequence, costs: ChangeCosts) -> float:
    """The cheapest changes that make one of the other."""
    row = [costs.put_in * n for n in range(len(said) + 1)]
    for label in expected:
        above, row = row, [row[0] + costs.left_out]
        for place, other in enumerate(said):
            replaced = above[place] + (costs.replaced if other != label else 0.0)
            row.append(min(replaced, above[place + 1] + costs.left_out, row[place] + costs.put_in))
    return row[-1]


def path_scores(log_probs: NDArray[np.float32]) -> dict[Sequence, float]:
    """The best CTC path of each sequence of classes, of all paths that there are."""
    frames, classes = log_probs.shape
    best: dict[Sequence, float] = {}
    for path in product(range(classes), repeat=frames):
        said = tuple(c for i, c in enumerate(path) if c and (i == 0 or path[i - 1] != c))
        score = float(sum(float(log_probs[frame, c]) for frame, c in enumerate(path)))
        best[said] = max(score, best.get(said, -np.inf))
    return best


@st.composite
def small_cases(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int]]:
    frames, classes = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    values = draw(st.lists(st.floats(-6, 0, width=16), min_size=frames * classes, max_size=frames * classes))
    logits = np.array(values, np.float32).reshape(frames, classes)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return log_probs, draw(st.lists(st.integers(1, classes - 1), min_size=1, max_size=4))


def peaked(said: list[int], probability: float = 0.99) -> NDArray[np.float32]:
    """Posteriors as CTC gives them: a peak for each class, blanks between."""
    frames = [0, *(label for phoneme in said for label in (phoneme, phoneme, 0, 0))]
    log_probs = np.full((len(frames), len(CLASSES)), np.log((1 - probability) / (len(CLASSES) - 1)), np.float32)
    log_probs[np.arange(len(frames)), frames] = np.log(probability)
    return log_probs


def unsure(word: list[int], place: int, other: int, share: float) -> NDArray[np.float32]:
    """Peaked posteriors of a word in which one phoneme sounds as ``other`` with a probability of ``share``."""
    log_probs = peaked(word)
    at = slice(1 + 4 * place, 3 + 4 * place)
    log_probs[at, other], log_probs[at, word[place]] = np.log(0.99 * share), np.log(0.99 * (1 - share))
    return log_probs


@settings(max_examples=400, deadline=None)
@given(small_cases(), COSTS)
@example((np.log(np.array([[0.1, 0.9], [0.8, 0.2], [0.1, 0.9]], np.float32)), [1, 1]), ChangeCosts())
@example((np.log(np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]], np.float32)), [1, 1]), ChangeCosts(0, 0, 0))
def test_no_reading_is_better(case: tuple[NDArray[np.float32], list[int]], costs: ChangeCosts) -> None:
    log_probs, expected = case
    totals = {said: score - edit_cost(tuple(expected), said, costs) for said, score in path_scores(log_probs).items()}
    reading = best_reading(log_probs, expected, costs)
    assert reading is not None
    assert totals[tuple(reading)] == pytest.approx(max(totals.values()), abs=1e-4)


@settings(max_examples=50, deadline=None)
@given(WORDS)
@example([5, 5])
def test_a_word_said_rightly_is_read_so(word: list[int]) -> None:
    assert best_reading(peaked(word), word) == word


@settings(max_examples=50, deadline=None)
@given(WORDS, WORDS)
def test_what_is_clear_is_read_whatever_was_expected(said: list[int], expected: list[int]) -> None:
    """Five nats for each frame outweigh what any change costs."""
    clear = np.repeat(peaked(said, 0.999_99), 2, axis=0)
    assert best_reading(clear, expected) == said


@settings(max_examples=50, deadline=None)
@given(WORDS, st.data())
def test_a_change_is_read_where_it_is_likely_and_not_where_it_is_a_doubt(word: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(word) - 1))
    other = data.draw(LABELS.filter(lambda label: label != word[place]))
    changed = [*word[:place], other, *word[place + 1 :]]
    assert best_reading(unsure(word, place, other, 0.95), word) == changed
    assert best_reading(unsure(word, place, other, 0.6), word) == word
    assert best_reading(unsure(word, place, other, 0.6), word, ChangeCosts(0, 0, 0)) == changed


def test_a_phoneme_put_in_and_one_left_out_are_read() -> None:
    word, with_schwa, short = ([CLASS_IDS[p] for p in said.split()] for said in ("F IH L M", "F IH L AH M", "F IH M"))
    assert best_reading(peaked(with_schwa), word) == with_schwa
    assert best_reading(peaked(short), word) == short


def test_where_nothing_is_said_nothing_is_read() -> None:
    assert best_reading(peaked([]), [3, 4]) == []
    assert best_reading(peaked([])[:0], [3, 4]) == []


def test_a_stretch_too_long_to_be_a_word_has_no_reading() -> None:
    word = [3] * 9
    silence = np.repeat(peaked([])[:1], MAX_CELLS // 10 + 1, axis=0)
    assert best_reading(silence, word) is None
    assert best_reading(silence[: MAX_CELLS // 100], word) == []


def test_the_posteriors_stay_as_they_are() -> None:
    log_probs = peaked([3, 4])
    before = log_probs.copy()
    best_reading(log_probs, [4, 3])
    assert np.array_equal(log_probs, before)
