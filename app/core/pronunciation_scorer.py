"""Aligned phonemes -> phoneme, word and sentence scores.

``PronunciationScorer`` is the place for a trained scoring head; ``RuleScorer`` scores any acoustic model by goodness of
pronunciation and fitted rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import FramePosteriors
from app.core.alignment import AlignedWord, Alignment, Filler
from app.core.fluency import SYLLABLES_PER_WORD, Fluency
from app.core.goodness import WordGoodness, most_probable, phoneme_features, word_goodness
from app.core.lexicon import LexiconWord, Pronunciation
from app.core.phoneme_extractor import HeardSegment
from app.core.phonemes import CLASS_IDS, CLASSES, ipa
from app.core.reading import best_reading
from app.core.results import ErrorType, HeardPhoneme, Phoneme, SentenceScores, Word, WordScores
from app.core.score_rules import ScoreRules
from app.core.text_match import text_found

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
        pitch_range: in semitones, None where nothing is voiced.
    """

    words: Sequence[LexiconWord]
    alignment: Alignment
    posteriors: FramePosteriors
    heard: Sequence[HeardSegment]
    fluency: Fluency
    pitch_range: float | None


class PronunciationScorer(Protocol):
    """Scores a recording whose text is known."""

    def score(self, spoken: SpokenText) -> tuple[list[Word], SentenceScores]:
        """The words with their phonemes, insertions where they were spoken, and the sentence's scores."""

    def fluency_without_text(self, fluency: Fluency, pitch_range: float | None) -> float:
        """The fluency score, 0..100, of a recording whose text is not known."""


class RuleScorer:
    """Goodness of pronunciation and fitted rules.

    Args:
        rules: see ``app.core.score_rules``.
    """

    def __init__(self, rules: ScoreRules) -> None:
        self._rules = rules

    def score(self, spoken: SpokenText) -> tuple[list[Word], SentenceScores]:
        """See ``PronunciationScorer``."""
        goodness = measure_words(spoken)
        said = [chosen_pronunciation(*pair) for pair in zip(spoken.words, spoken.alignment.words, strict=True)]
        features = phoneme_features(goodness, [len(p.phonemes) for p in said])
        scores = [
            self._rules.phoneme(f) if g is not None else np.zeros(len(f))
            for f, g in zip(features, goodness, strict=True)
        ]
        words = [
            _with_what_was_heard(self._word(word.text, pronunciation, measured, score), spoken.posteriors, aligned)
            for word, pronunciation, measured, score, aligned in zip(
                spoken.words, said, goodness, scores, spoken.alignment.words, strict=True
            )
        ]
        sentence = self._sentence(spoken, goodness, scores)
        return _with_insertions(words, spoken), sentence

    def fluency_without_text(self, fluency: Fluency, pitch_range: float | None) -> float:
        """See ``PronunciationScorer``."""
        if fluency.speech_duration <= 0:
            return 0.0
        words = (fluency.articulation_rate or 0.0) * fluency.speech_duration / SYLLABLES_PER_WORD
        return float(self._rules.fluency_unscripted(delivery_features(fluency, words, pitch_range)[None])[0])

    def _word(self, text: str, said: Pronunciation, goodness: WordGoodness | None, scores: NDArray[np.float64]) -> Word:
        pairs = list(zip(said.phonemes, said.stresses, strict=True))
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
        features = word_features(scores)[None]
        rules = self._rules
        accuracy, stress_score, total = (
            float(rule(features)[0]) for rule in (rules.word_accuracy, rules.word_stress, rules.word_total)
        )
        error: ErrorType = "mispronunciation" if scores.min() < rules.mispronounced_below else "none"
        word_scores = WordScores(accuracy, stress_score, total)
        return Word(text, phonemes[0].start, phonemes[-1].end, error, word_scores, phonemes)

    def _sentence(
        self, spoken: SpokenText, goodness: Sequence[WordGoodness | None], scores: Sequence[NDArray[np.float64]]
    ) -> SentenceScores:
        """The sentence's scores: what was said is scored by the rules, what was left out, or not found, counts zero."""
        count = len(spoken.words)
        said = [i for i in range(count) if goodness[i] is not None]
        if not said:
            return SentenceScores(0.0, 0.0, 0.0, 0.0, 0.0)
        phonemes = sum(len(s) for s in scores)
        share = sum(len(scores[i]) for i in said) / phonemes * text_found(*_heard_and_expected(spoken))
        peaks = np.concatenate([g.figures[:, 0] for g in goodness if g is not None])
        features = sentence_features(
            np.concatenate([scores[i] for i in said]),
            peaks,
            delivery_features(spoken.fluency, len(said), spoken.pitch_range),
        )[None]
        accuracy, fluency, prosody, total = (
            float(rule(features)[0])
            for rule in (self._rules.accuracy, self._rules.fluency, self._rules.prosody, self._rules.total)
        )
        return SentenceScores(
            pronunciation=total * share,
            accuracy=accuracy * share,
            fluency=fluency * share,
            completeness=100.0 * len(said) / count,
            prosody=prosody * share,
        )


def chosen_pronunciation(word: LexiconWord, aligned: AlignedWord | None) -> Pronunciation:
    """The candidate that was said, or the first one of a word left out."""
    return word.pronunciations[aligned.candidate if aligned else 0]


def _heard_and_expected(spoken: SpokenText) -> tuple[list[str], list[str]]:
    """The phonemes of the free decode, without those of insertions, and those of the text."""
    insertions = [_seconds(filler, spoken) for filler in spoken.alignment.fillers]
    heard = [
        h.phoneme for h in spoken.heard if not any(start <= (h.start + h.end) / 2 < end for start, end in insertions)
    ]
    said = (chosen_pronunciation(*pair) for pair in zip(spoken.words, spoken.alignment.words, strict=True))
    return heard, [phoneme for pronunciation in said for phoneme in pronunciation.phonemes]


def _seconds(filler: Filler, spoken: SpokenText) -> tuple[float, float]:
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


def word_features(phoneme_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """``(3,)`` measurements of a word, as in ``score_rules.WORD_FEATURES``, from its phoneme scores 0..100."""
    return np.array([phoneme_scores.mean(), phoneme_scores.min(), len(phoneme_scores)])


def delivery_features(fluency: Fluency, words: float, pitch_range: float | None) -> NDArray[np.float64]:
    """``(6,)`` measurements of how something was said, as in ``score_rules.DELIVERY_FEATURES``."""
    words = max(words, 1.0)
    paused = sum(end - start for start, end in fluency.pauses)
    total = fluency.speech_duration + paused
    return np.array(
        [
            words / max(total, 0.1),
            fluency.articulation_rate or 0.0,
            fluency.phonation_ratio,
            len(fluency.pauses) / words,
            paused / words,
            pitch_range or 0.0,
        ]
    )


def sentence_features(
    phoneme_scores: NDArray[np.float64], peaks: NDArray[np.float64], delivery: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(9,)`` measurements of a sentence, as in ``score_rules.SENTENCE_FEATURES``."""
    return np.concatenate([[phoneme_scores.mean(), np.percentile(phoneme_scores, 20), peaks.mean()], delivery])


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
    start, end = _seconds(filler, spoken)
    heard = [h for h in spoken.heard if start <= (h.start + h.end) / 2 < end]
    if len(heard) < MIN_INSERTED_PHONEMES:
        return None
    text = "".join(ipa(h.phoneme) for h in heard)
    first, last = max(start, heard[0].start), min(end, heard[-1].end)
    return Word(f"/{text}/", first, last, "insertion", WordScores(0.0, 0.0, 0.0), [], [h.phoneme for h in heard])
