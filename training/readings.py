"""Texts as the scoring head is to read them, with what each phoneme, word and sentence should score; and wrong texts.

A text that differs from what was said teaches what wrong looks like: words that nobody said, another sentence, a
phoneme that was said well taken for another. That costs no recording (Korzekwa et al., 2022, and others).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.core.phoneme_tokens import STRESSES, stress_indices
from app.core.phonemes import PHONEMES, VOWELS, split_stress
from training.corpus import Utterance

T = TypeVar("T")

NAN = float("nan")
CLEARLY_WRONG = 0.1
"""What a phoneme scores, of 1, that was said well in place of another: about what experts give a clear substitution."""
SAID_WELL = 0.9
"""What a phoneme scores at least, of 1, that was said well."""

CONFUSED: dict[str, tuple[str, ...]] = {
    "AA": ("AH", "AO"), "AE": ("EH", "AH"), "AH": ("AE", "AA"), "AO": ("OW", "AH"), "AW": ("OW",), "AY": ("AA",),
    "B": ("P", "V"), "CH": ("SH", "JH"), "D": ("T",), "DH": ("D", "Z"), "EH": ("AE", "IH"), "ER": ("AO",),
    "EY": ("EH",), "F": ("V", "P"), "G": ("K",), "HH": ("F",), "IH": ("IY", "EH"), "IY": ("IH",), "JH": ("Y", "CH"),
    "K": ("G",), "L": ("R", "N"), "M": ("N",), "N": ("NG", "L"), "NG": ("N",), "OW": ("AO", "UW"), "OY": ("AO",),
    "P": ("B",), "R": ("L", "W"), "S": ("SH", "TH", "Z"), "SH": ("S", "CH"), "T": ("D",), "TH": ("S", "T", "F"),
    "UH": ("UW",), "UW": ("UH",), "V": ("W", "B", "F"), "W": ("V",), "Y": ("JH",), "Z": ("S",), "ZH": ("SH",),
}  # fmt: skip
"""What learners of English say for a phoneme."""


@dataclass(frozen=True)
class ReadWord:
    """A word of a text with its targets, 0 to 1; NaN where there is none.

    Attributes:
        phonemes: indices in ``PHONEMES``.
        stresses: indices in ``STRESSES``.
        scores: of each phoneme.
        word: accuracy, stress and total.
        present: 1 if somebody said it.
    """

    phonemes: tuple[int, ...]
    stresses: tuple[int, ...]
    scores: tuple[float, ...]
    word: tuple[float, float, float]
    present: float = 1.0


@dataclass(frozen=True)
class Reading:
    """A text with its targets.

    Attributes:
        words: of the text.
        sentence: accuracy, fluency, prosody and total.
    """

    words: tuple[ReadWord, ...]
    sentence: tuple[float, float, float, float]

    @property
    def phonemes(self) -> list[int]:
        """Of all words, indices in ``PHONEMES``."""
        return [phoneme for word in self.words for phoneme in word.phonemes]


@dataclass(frozen=True)
class WrongTexts:
    """How often a text is changed into a wrong one, each way, as shares of all texts.

    Attributes:
        extra_words: words that nobody said are put in.
        other_word: a word is another.
        other_text: the text is another recording's.
        other_phoneme: one or two phonemes are others.
    """

    extra_words: float = 0.10
    other_word: float = 0.06
    other_text: float = 0.06
    other_phoneme: float = 0.14


def reading_of(utterance: Utterance) -> Reading:
    """The corpus's own text and expert scores."""
    scores = utterance.scores
    sentence = (scores["accuracy"], scores["fluency"], scores["prosodic"], scores["total"])
    return Reading(tuple(_word(word) for word in utterance.words), _tenths(sentence))


def _word(word: dict[str, Any]) -> ReadWord:
    pairs = [split_stress(phone) for phone in word["phones"]]
    scores = word["phone_accuracy"] or [NAN] * len(pairs)
    phonemes = tuple(PHONEMES.index(phoneme) for phoneme, _ in pairs)
    return ReadWord(
        phonemes=phonemes,
        stresses=tuple(stress_indices(phonemes, [stress for _, stress in pairs])),
        scores=tuple(NAN if score is None else score / 2 for score in scores),
        word=_tenths((word["accuracy"], word["stress"], word["total"])),
    )


def _tenths(values: Sequence[float | None]) -> Any:
    return tuple(NAN if value is None else value / 10 for value in values)


def part_of(reading: Reading, first: int, last: int) -> Reading:
    """Words ``first`` to ``last`` (exclusive); what the experts said of the whole does not hold for them."""
    return Reading(reading.words[first:last], (NAN, NAN, NAN, NAN))


def without_stress(reading: Reading) -> Reading:
    """The same, but where a word has several vowels nobody says which of them is stressed."""
    words = [
        replace(word, stresses=tuple(stress_indices(word.phonemes, [None] * len(word.phonemes))))
        for word in reading.words
    ]
    return Reading(tuple(words), reading.sentence)


def make_wrong(reading: Reading, others: Sequence[Reading], how: WrongTexts, rng: random.Random) -> Reading:
    """Change a text, or leave it.

    Args:
        reading: what was said.
        others: texts to take words from.
        how: how often.
        rng: decides.
    """
    choice = rng.random()
    if (choice := choice - how.extra_words) < 0:
        return _with_extra_words(reading, others, rng)
    if (choice := choice - how.other_word) < 0:
        return _with_another_word(reading, others, rng)
    if (choice := choice - how.other_text) < 0:
        return _another_text(reading, others, rng)
    if choice - how.other_phoneme < 0:
        return _with_other_phonemes(reading, rng)
    return reading


def _not_said(word: ReadWord) -> ReadWord:
    return replace(word, scores=(0.0,) * len(word.scores), word=(0.0, NAN, 0.0), present=0.0)


def _only_delivery(sentence: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    return (NAN, *sentence[1:3], NAN)


def _unsaid_words(reading: Reading, others: Sequence[Reading], count: int, rng: random.Random) -> list[ReadWord]:
    """Words that the reading does not have."""
    own = {word.phonemes for word in reading.words}
    words = [rng.choice(rng.choice(others).words) for _ in range(4 * count)]
    return [_not_said(word) for word in words if word.phonemes not in own][:count]


def _with_extra_words(reading: Reading, others: Sequence[Reading], rng: random.Random) -> Reading:
    """As if words had been left out, in one place: at the end, as by one who stops, more often than elsewhere."""
    extra = _unsaid_words(reading, others, rng.choice((1, 1, 2, 3)), rng)
    at = len(reading.words) if rng.random() < 0.3 else rng.randint(0, len(reading.words))
    words = (*reading.words[:at], *extra, *reading.words[at:])
    return Reading(words, _only_delivery(reading.sentence))


def _with_another_word(reading: Reading, others: Sequence[Reading], rng: random.Random) -> Reading:
    at = rng.randrange(len(reading.words))
    other = _unsaid_words(reading, others, 1, rng)
    if not other:
        return reading
    words = (*reading.words[:at], *other, *reading.words[at + 1 :])
    return Reading(words, _only_delivery(reading.sentence))


def _another_text(reading: Reading, others: Sequence[Reading], rng: random.Random) -> Reading:
    """Another sentence of like length; words that both have were said, but not there."""
    nearest = min(
        (rng.choice(others) for _ in range(8)), key=lambda other: abs(len(other.phonemes) - len(reading.phonemes))
    )
    if nearest.phonemes == reading.phonemes:
        return reading
    own = {word.phonemes for word in reading.words}
    words = tuple(_unknown(word) if word.phonemes in own else _not_said(word) for word in nearest.words)
    return Reading(words, (0.0, NAN, NAN, 0.0))


def _unknown(word: ReadWord) -> ReadWord:
    return replace(word, scores=(NAN,) * len(word.scores), word=(NAN, NAN, NAN), present=NAN)


def _with_other_phonemes(reading: Reading, rng: random.Random) -> Reading:
    """One or two phonemes that were said well are taken for others, mostly for ones that learners mix up."""
    words = list(reading.words)
    for at in rng.sample(range(len(words)), min(len(words), rng.choice((1, 1, 2)))):
        word = words[at]
        place = rng.randrange(len(word.phonemes))
        score = word.scores[place]
        if math.isnan(score) or score < SAID_WELL:
            continue
        said = PHONEMES[word.phonemes[place]]
        taken = [p for p, heard_as in CONFUSED.items() if said in heard_as]
        expected = rng.choice(taken) if taken and rng.random() < 0.7 else rng.choice(PHONEMES)
        if expected == said:
            continue
        stress = word.stresses[place] if (expected in VOWELS) == (said in VOWELS) else STRESSES.index(None)
        words[at] = replace(
            word,
            phonemes=_put(word.phonemes, place, PHONEMES.index(expected)),
            stresses=_put(word.stresses, place, stress),
            scores=_put(word.scores, place, CLEARLY_WRONG),
            word=(NAN, word.word[1], NAN),
        )
    return Reading(tuple(words), _only_delivery(reading.sentence))


def _put(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    return (*values[:place], value, *values[place + 1 :])


@dataclass(frozen=True)
class Targets:
    """Targets of ``R`` readings as arrays, 0 to 1, NaN where there is none.

    Attributes:
        phonemes: ``(R, N)``.
        words: ``(R, W, 3)`` accuracy, stress and total.
        present: ``(R, W)`` 1 where the word was said, 0 where not.
        sentence: ``(R, 4)`` accuracy, fluency, prosody and total.
    """

    phonemes: NDArray[np.float32]
    words: NDArray[np.float32]
    present: NDArray[np.float32]
    sentence: NDArray[np.float32]


def targets_of(readings: Sequence[Reading]) -> Targets:
    """Put the targets of readings into arrays, padded with NaN."""
    most_phonemes = max(len(reading.phonemes) for reading in readings)
    most_words = max(len(reading.words) for reading in readings)
    count = len(readings)
    phonemes = np.full((count, most_phonemes), NAN, np.float32)
    words = np.full((count, most_words, 3), NAN, np.float32)
    present = np.full((count, most_words), NAN, np.float32)
    for i, reading in enumerate(readings):
        scores = [score for word in reading.words for score in word.scores]
        phonemes[i, : len(scores)] = scores
        words[i, : len(reading.words)] = [word.word for word in reading.words]
        present[i, : len(reading.words)] = [word.present for word in reading.words]
    return Targets(phonemes, words, present, np.array([reading.sentence for reading in readings], np.float32))
