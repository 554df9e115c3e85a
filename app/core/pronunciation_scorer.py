"""Aligned phonemes -> phoneme, word and sentence scores.

Two scorers give the figures: ``app.core.head_scorer`` where the acoustic model was trained with a scoring head, and
``app.core.rule_scorer`` for any other, by goodness of pronunciation. Here is what both look at, and how the figures
become the answer's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import FramePosteriors
from app.core.alignment import AlignedWord, Alignment, Filler
from app.core.fluency import Fluency
from app.core.goodness import WordGoodness, most_probable, word_goodness
from app.core.lexicon import LexiconWord, Pronunciation
from app.core.phoneme_extractor import HeardSegment
from app.core.phonemes import CLASS_IDS, CLASSES, ipa
from app.core.pitch import PitchContour
from app.core.reading import best_reading
from app.core.results import ErrorType, HeardPhoneme, Phoneme, SentenceScores, Word, WordScores

Floats = NDArray[np.float64]

MIN_INSERTED_PHONEMES = 3
"""Fewer phonemes beyond the text are a hesitation or a slip inside a word, not an inserted word."""


@dataclass(frozen=True, slots=True)
class SpokenText:
    """Everything a scorer looks at.

    Attributes:
        words: the words of the text.
        alignment: where they were said.
        posteriors: of the whole recording.
        heard: the free decode.
        fluency: rates and pauses.
        pitch: the melody.
    """

    words: Sequence[LexiconWord]
    alignment: Alignment
    posteriors: FramePosteriors
    heard: Sequence[HeardSegment]
    fluency: Fluency
    pitch: PitchContour


@dataclass(frozen=True, slots=True)
class Figures:
    """What a scorer says of a text; all scores 0 to 100.

    Attributes:
        alignment: where the words were said, after the scorer has had its say about that.
        phonemes: of each word, of the pronunciation that was said; not looked at for a word left out.
        words: ``(W, 3)`` accuracy, stress and total; not looked at for a word left out.
        sentence: ``(4,)`` accuracy, fluency, prosody and total of what was said.
        found: how much of the text is in the recording at all, 0 to 1: words that were left out apart.
    """

    alignment: Alignment
    phonemes: Sequence[Floats]
    words: Floats
    sentence: Floats
    found: float


class PronunciationScorer(Protocol):
    """Scores a recording whose text is known."""

    def score(self, spoken: SpokenText) -> tuple[list[Word], SentenceScores]:
        """The words with their phonemes, insertions where they were spoken, and the sentence's scores."""

    def fluency_without_text(self, fluency: Fluency, pitch_range: float | None) -> float:
        """The fluency score, 0..100, of a recording whose text is not known."""


def assemble(spoken: SpokenText, figures: Figures, *, mispronounced_below: float) -> tuple[list[Word], SentenceScores]:
    """The answer's words and sentence scores: what was left out, or not found, counts zero.

    Args:
        spoken: what was scored.
        figures: its scores.
        mispronounced_below: a word with a phoneme that scores below this is called mispronounced.
    """
    spoken = replace(spoken, alignment=figures.alignment)
    words = [
        _with_what_was_heard(_word(word, measured, scores, of_word, mispronounced_below), spoken.posteriors, aligned)
        for word, measured, scores, of_word, aligned in zip(
            zip(spoken.words, spoken.alignment.words, strict=True),
            measure_words(spoken),
            figures.phonemes,
            figures.words,
            spoken.alignment.words,
            strict=True,
        )
    ]
    return _with_insertions(words, spoken), _sentence(words, figures)


def _sentence(words: Sequence[Word], figures: Figures) -> SentenceScores:
    """The scores of what was said, times how much of the text that is."""
    said = [len(word.phonemes) for word in words if word.error_type != "omission"]
    if not said:
        return SentenceScores(0.0, 0.0, 0.0, 0.0, 0.0)
    share = sum(said) / sum(len(word.phonemes) for word in words) * figures.found
    accuracy, fluency, prosody, total = (float(score) * share for score in figures.sentence)
    return SentenceScores(
        pronunciation=total,
        accuracy=accuracy,
        fluency=fluency,
        completeness=100.0 * len(said) / len(words),
        prosody=prosody,
    )


def _word(
    said: tuple[LexiconWord, AlignedWord | None],
    goodness: WordGoodness | None,
    scores: Floats,
    of_word: Floats,
    mispronounced_below: float,
) -> Word:
    """A word of the answer; without goodness it was left out."""
    text, pronunciation = said[0].text, chosen_pronunciation(*said)
    pairs = list(zip(pronunciation.phonemes, pronunciation.stresses, strict=True))
    if goodness is None:
        missing = [Phoneme(p, stress, ipa(p, stress), None, None, 0.0, []) for p, stress in pairs]
        return Word(text, None, None, "omission", WordScores(0.0, 0.0, 0.0), missing)
    phonemes = [
        Phoneme(
            phoneme=phoneme,
            stress=stress,
            ipa=ipa(phoneme, stress),
            start=float(start),
            end=float(end),
            score=float(score),
            heard=[HeardPhoneme(*pair) for pair in most_probable(heard)],
        )
        for (phoneme, stress), (start, end), score, heard in zip(
            pairs, goodness.segments, scores, goodness.heard, strict=True
        )
    ]
    error: ErrorType = "mispronunciation" if scores.min() < mispronounced_below else "none"
    word_scores = WordScores(*(float(score) for score in of_word))
    return Word(text, phonemes[0].start, phonemes[-1].end, error, word_scores, phonemes)


def chosen_pronunciation(word: LexiconWord, aligned: AlignedWord | None) -> Pronunciation:
    """The candidate that was said, or the first one of a word left out."""
    return word.pronunciations[aligned.candidate if aligned else 0]


def seconds_of(filler: Filler, spoken: SpokenText) -> tuple[float, float]:
    """Where speech that the text does not have starts and ends."""
    frame = spoken.posteriors.frame_seconds
    return filler.start * frame, filler.end * frame


def measure_words(spoken: SpokenText) -> list[WordGoodness | None]:
    """Goodness of pronunciation of each word, None for one left out."""
    return [
        None
        if aligned is None
        else word_goodness(
            spoken.posteriors, aligned, [CLASS_IDS[p] for p in chosen_pronunciation(word, aligned).phonemes]
        )
        for word, aligned in zip(spoken.words, spoken.alignment.words, strict=True)
    ]


def _with_what_was_heard(word: Word, posteriors: FramePosteriors, aligned: AlignedWord | None) -> Word:
    """A word with an error together with the best reading of what was said in its place."""
    if word.error_type == "none":
        return word
    if aligned is None:
        return replace(word, heard_phonemes=[])
    stretch = posteriors.log_probs[aligned.starts[0] : aligned.ends[-1]]
    reading = best_reading(stretch, [CLASS_IDS[phoneme.phoneme] for phoneme in word.phonemes])
    # where there is no reading, the best guess for each phoneme is better than silence
    guesses = [phoneme.heard[0].phoneme for phoneme in word.phonemes]
    return replace(word, heard_phonemes=[CLASSES[label] for label in reading] if reading else guesses)


def _with_insertions(words: list[Word], spoken: SpokenText) -> list[Word]:
    """The words of the text with the inserted stretches where they were spoken; the path keeps both in time order."""
    inserted: list[list[Word]] = [[] for _ in range(len(words) + 1)]
    for filler in spoken.alignment.fillers:
        insertion = _insertion(filler, spoken)
        if insertion is not None:
            inserted[filler.before].append(insertion)
    return [item for before, word in zip(inserted, words, strict=False) for item in (*before, word)] + inserted[-1]


def _insertion(filler: Filler, spoken: SpokenText) -> Word | None:
    """What was said beyond the text in one stretch, if it is enough to be words."""
    start, end = seconds_of(filler, spoken)
    heard = [h for h in spoken.heard if start <= (h.start + h.end) / 2 < end]
    if len(heard) < MIN_INSERTED_PHONEMES:
        return None
    text = "".join(ipa(h.phoneme) for h in heard)
    first, last = max(start, heard[0].start), min(end, heard[-1].end)
    return Word(f"/{text}/", first, last, "insertion", WordScores(0.0, 0.0, 0.0), [], [h.phoneme for h in heard])
