"""Fitted rules that turn measurements into scores: a weighted sum, then a monotone curve onto 0..100.

The numbers are in ``app/data/score_rules.json``, fitted on expert scores by ``training/fit_scores.py``. A scoring head
that is trained with the acoustic model takes their place where a model has one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BUILT_IN_RULES = Path(__file__).parents[1] / "data" / "score_rules.json"

WORD_FEATURES = ("mean_phoneme", "worst_phoneme", "phonemes")
DELIVERY_FEATURES = (
    "words_per_second",
    "articulation_rate",
    "phonation_ratio",
    "pauses_per_word",
    "pause_seconds_per_word",
    "pitch_range",
)
SENTENCE_FEATURES = ("mean_phoneme", "low_phoneme", "mean_peak", *DELIVERY_FEATURES)


@dataclass(frozen=True, slots=True)
class Rule:
    """A score from ``F`` measurements.

    Attributes:
        low: ``(F,)`` measurements are clipped to the range that the rule was fitted on.
        high: ``(F,)``.
        weights: ``(F,)``.
        curve_x: ``(K,)`` ascending, values of the weighted sum.
        curve_y: ``(K,)`` never falling, the scores there, 0..100; straight lines between.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    weights: NDArray[np.float64]
    curve_x: NDArray[np.float64]
    curve_y: NDArray[np.float64]

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores ``(N,)``, 0..100, of measurements ``(N, F)``."""
        total = np.clip(features, self.low, self.high) @ self.weights
        scores: NDArray[np.float64] = np.interp(total, self.curve_x, self.curve_y)
        return scores


@dataclass(frozen=True, slots=True)
class ScoreRules:
    """All rules of the service, and its operating point.

    Attributes:
        phoneme: on ``app.core.goodness.FEATURES``.
        word_accuracy: on ``WORD_FEATURES``, as are ``word_stress`` and ``word_total``.
        accuracy: on ``SENTENCE_FEATURES``, as are ``fluency``, ``prosody`` and ``total``.
        fluency_unscripted: on ``DELIVERY_FEATURES``.
        mispronounced_below: a word with a phoneme that scores below this is called mispronounced.
    """

    phoneme: Rule
    word_accuracy: Rule
    word_stress: Rule
    word_total: Rule
    accuracy: Rule
    fluency: Rule
    prosody: Rule
    total: Rule
    fluency_unscripted: Rule
    mispronounced_below: float


def load_rules(path: Path = BUILT_IN_RULES) -> ScoreRules:
    """Read fitted rules."""
    data = json.loads(path.read_text(encoding="utf-8"))
    rules = {
        name: Rule(**{part: np.array(values, dtype=np.float64) for part, values in rule.items()})
        for name, rule in data["rules"].items()
    }
    return ScoreRules(**rules, mispronounced_below=float(data["mispronounced_below"]))
