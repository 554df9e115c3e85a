"""Wrong texts say what is wrong with them, and claim nothing else."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.phoneme_tokens import STRESSES
from app.core.phonemes import PHONEMES, VOWELS
from tests.training.corpora import make_utterance
from training.readings import (
    CLEARLY_WRONG,
    CONFUSED,
    SAID_WELL,
    Reading,
    WrongTexts,
    make_wrong,
    part_of,
    reading_of,
    targets_of,
    without_stress,
)

READINGS = [
    reading_of(make_utterance(["G", "R", "IY1", "N"], ["L", "IY1", "V", "Z"])),
    reading_of(make_utterance(["AE1", "P", "AH0", "L", "Z"], ["AH0"], ["D", "EY1"])),
    reading_of(make_utterance(["T", "ER1", "N"], ["R", "AY1", "T"], ["HH", "IY1", "R"])),
]
DELIVERY = (0.8, 0.7)

readings = st.sampled_from(READINGS)
seeds = st.integers(0, 10_000)


def only(**share: float) -> WrongTexts:
    none = {"extra_words": 0.0, "other_word": 0.0, "other_text": 0.0, "other_phoneme": 0.0}
    return WrongTexts(**{**none, **share})


def all_nan(values: Sequence[float]) -> bool:
    return all(math.isnan(value) for value in values)


def test_a_text_has_the_experts_scores() -> None:
    reading = reading_of(make_utterance(["D", "EY1"], ["AH0"], scores=None))
    assert reading.sentence == (0.9, 0.8, 0.7, 0.6)
    assert reading.words[0].scores == (1.0, 1.0)
    assert reading.words[0].word == (0.9, 1.0, 0.8)
    assert reading.words[0].present == 1
    assert [STRESSES[i] for i in reading.words[0].stresses] == [None, 1]
    assert [STRESSES[i] for i in reading.words[1].stresses] == [1], "a lone vowel counts as stressed"


def test_without_stress_only_a_lone_vowel_is_stressed() -> None:
    reading = without_stress(READINGS[1])
    assert [[STRESSES[i] for i in word.stresses] for word in reading.words] == [[None] * 5, [1], [None, 1]]
    assert reading.phonemes == READINGS[1].phonemes


def test_of_a_part_nothing_is_known_of_the_whole() -> None:
    part = part_of(READINGS[2], 1, 3)
    assert part.words == READINGS[2].words[1:]
    assert all_nan(part.sentence)


@given(readings, seeds)
def test_extra_words_were_not_said(reading: Reading, seed: int) -> None:
    wrong = make_wrong(reading, READINGS, only(extra_words=1.0), random.Random(seed))
    extra = [word for word in wrong.words if word.present == 0]
    assert [word for word in wrong.words if word.present == 1] == list(reading.words)
    assert len(extra) <= 3
    for word in extra:
        assert word.phonemes not in {w.phonemes for w in reading.words}
        assert set(word.scores) == {0.0}
        assert (word.word[0], word.word[2]) == (0, 0)
        assert math.isnan(word.word[1])
    assert wrong.sentence[1:3] == DELIVERY
    assert all_nan((wrong.sentence[0], wrong.sentence[3]))


@given(readings, seeds)
def test_another_word_takes_a_word_s_place(reading: Reading, seed: int) -> None:
    wrong = make_wrong(reading, READINGS, only(other_word=1.0), random.Random(seed))
    changed = [i for i, (a, b) in enumerate(zip(wrong.words, reading.words, strict=True)) if a != b]
    if not changed:
        assert wrong == reading
        return
    assert [wrong.words[i].present for i in changed] == [0]
    assert wrong.sentence[1:3] == DELIVERY
    assert all_nan((wrong.sentence[0], wrong.sentence[3]))


@given(readings, seeds)
def test_another_text_is_all_wrong(reading: Reading, seed: int) -> None:
    wrong = make_wrong(reading, READINGS, only(other_text=1.0), random.Random(seed))
    if wrong == reading:  # it had no other to choose
        return
    assert (wrong.sentence[0], wrong.sentence[3]) == (0, 0)
    assert all_nan(wrong.sentence[1:3])
    assert {word.present for word in wrong.words} == {0}


def test_of_a_word_that_another_text_has_too_nothing_is_known() -> None:
    other = Reading((READINGS[0].words[0], READINGS[2].words[0]), READINGS[2].sentence)
    wrong = make_wrong(READINGS[0], [other], only(other_text=1.0), random.Random(0))
    shared, not_said = wrong.words
    assert all_nan((*shared.scores, *shared.word, shared.present))
    assert not_said.present == 0


@given(readings, seeds)
def test_other_phonemes_are_clearly_wrong(reading: Reading, seed: int) -> None:
    wrong = make_wrong(reading, READINGS, only(other_phoneme=1.0), random.Random(seed))
    for word, right in zip(wrong.words, reading.words, strict=True):
        changed = [i for i, (a, b) in enumerate(zip(word.phonemes, right.phonemes, strict=True)) if a != b]
        assert len(changed) <= 1
        scores = [CLEARLY_WRONG if i in changed else score for i, score in enumerate(right.scores)]
        assert list(word.scores) == scores
        if changed:
            assert all_nan((word.word[0], word.word[2]))
            assert word.word[1] == right.word[1]
        else:
            assert word == right
        for phoneme, stress in zip(word.phonemes, word.stresses, strict=True):
            assert PHONEMES[phoneme] in VOWELS or STRESSES[stress] is None
    assert wrong.sentence[1:3] == DELIVERY


@given(seeds)
def test_a_phoneme_that_was_said_badly_is_not_taken_for_another(seed: int) -> None:
    poor = reading_of(make_utterance(["D", "EY1"], scores=[2 * SAID_WELL - 0.2, 1.0]))
    wrong = make_wrong(poor, [poor], only(other_phoneme=1.0), random.Random(seed))
    assert wrong.words == poor.words


def test_most_texts_stay_and_some_of_each_kind_do_not() -> None:
    rng = random.Random(0)
    wrong = [make_wrong(READINGS[0], READINGS, WrongTexts(), rng) for _ in range(2000)]
    assert sum(reading == READINGS[0] for reading in wrong) / 2000 == pytest.approx(0.64, abs=0.06)
    assert make_wrong(READINGS[0], READINGS, only(), rng) == READINGS[0]


def test_targets_are_padded_with_nothing() -> None:
    targets = targets_of(READINGS)
    assert targets.phonemes.shape == (3, 9)
    assert targets.words.shape == (3, 3, 3)
    assert np.isnan(targets.phonemes[0, 8:]).all()
    assert np.isnan(targets.words[0, 2]).all()
    assert np.isnan(targets.present[0, 2])
    assert targets.phonemes[1, :8].tolist() == [1.0] * 8
    assert targets.sentence[0] == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_each_phoneme_is_confused_with_others_of_its_kind() -> None:
    assert set(CONFUSED) == set(PHONEMES)
    for phoneme, others in CONFUSED.items():
        assert others
        assert phoneme not in others
        assert all((other in VOWELS) == (phoneme in VOWELS) for other in others)
