"""Scores by goodness of pronunciation and fitted rules: for any acoustic model that has no scoring head.

Goodness of pronunciation (Witt & Young, 2000), see ``app.core.goodness``, is mapped to the experts' scores by the
curves of ``app.core.score_rules``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.fluency import SYLLABLES_PER_WORD, Fluency
from app.core.goodness import WordGoodness, phoneme_features
from app.core.pronunciation_scorer import Figures, Floats, SpokenText, assemble, chosen_pronunciation, measure_words
from app.core.results import SentenceScores, Word
from app.core.score_rules import ScoreRules
from app.core.text_match import text_found_in


class RuleScorer:
    """Goodness of pronunciation and fitted rules.

    Args:
        rules: see ``app.core.score_rules``.
        mispronounced_below: a word with a phoneme that scores below this is called mispronounced; None for the rules'
            own operating point.
    """

    def __init__(self, rules: ScoreRules, mispronounced_below: float | None = None) -> None:
        self._rules = rules
        self._mispronounced_below = rules.mispronounced_below if mispronounced_below is None else mispronounced_below

    def score(self, spoken: SpokenText) -> tuple[list[Word], SentenceScores]:
        """See ``PronunciationScorer``."""
        goodness = measure_words(spoken)
        said = [chosen_pronunciation(*pair) for pair in zip(spoken.words, spoken.alignment.words, strict=True)]
        features = phoneme_features(goodness, [len(p.phonemes) for p in said])
        phonemes = [
            self._rules.phoneme(f) if g is not None else np.zeros(len(f))
            for f, g in zip(features, goodness, strict=True)
        ]
        rules = (self._rules.word_accuracy, self._rules.word_stress, self._rules.word_total)
        of_words = np.stack([word_features(scores) for scores in phonemes])
        figures = Figures(
            alignment=spoken.alignment,
            phonemes=phonemes,
            words=np.stack([rule(of_words) for rule in rules], axis=1),
            sentence=self._sentence(spoken, goodness, phonemes),
            found=text_found_in(spoken),
        )
        return assemble(spoken, figures, mispronounced_below=self._mispronounced_below)

    def fluency_without_text(self, fluency: Fluency, pitch_range: float | None) -> float:
        """See ``PronunciationScorer``."""
        if fluency.speech_duration <= 0:
            return 0.0
        words = (fluency.articulation_rate or 0.0) * fluency.speech_duration / SYLLABLES_PER_WORD
        return float(self._rules.fluency_unscripted(delivery_features(fluency, words, pitch_range)[None])[0])

    def _sentence(
        self, spoken: SpokenText, goodness: Sequence[WordGoodness | None], phonemes: Sequence[Floats]
    ) -> Floats:
        """``(4,)`` scores of what was said."""
        said = [i for i, measured in enumerate(goodness) if measured is not None]
        if not said:
            return np.zeros(4)
        features = sentence_features(
            np.concatenate([phonemes[i] for i in said]),
            np.concatenate([g.figures[:, 0] for g in goodness if g is not None]),
            delivery_features(spoken.fluency, len(said), spoken.pitch.range_semitones),
        )[None]
        rules = (self._rules.accuracy, self._rules.fluency, self._rules.prosody, self._rules.total)
        return np.array([float(rule(features)[0]) for rule in rules])


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
