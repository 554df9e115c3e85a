"""How the scoring head's outputs become scores that mean what the experts' do.

The curves and weights are in a model's ``calibration.json``, fitted by ``training.calibrate`` on speakers that the
model had not heard.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CALIBRATION_FILE = "calibration.json"

WORD_SCORES = ("word_accuracy", "word_stress", "word_total")
SENTENCE_SCORES = ("sentence_accuracy", "sentence_fluency", "sentence_prosody", "sentence_total")
SCORES = ("phoneme", *WORD_SCORES, *SENTENCE_SCORES)
DELIVERED = ("sentence_fluency", "sentence_prosody")
"""Scores of how something was said: what is measured of that counts beside the head's opinion."""

PAUSES = 4
"""The column of ``score_rules.DELIVERY_FEATURES`` with the seconds of silence for each word."""


_NOT_FOUND, _FOUND = 0.3, 0.8
"""Mean probability of the words that were found, at which nothing of a text counts as found, and all of it."""


def share_found(present: Floats) -> Floats:
    """How much of a text a recording has, 0 to 1, by the mean probability that its words were said."""
    share: Floats = np.clip((present - _NOT_FOUND) / (_FOUND - _NOT_FOUND), 0, 1)
    return share


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a score takes in what is measured of pauses, rates and pitch.

    Attributes:
        output: weight of the head's output.
        weights: ``(6,)`` weights of the measurements, as in ``score_rules.DELIVERY_FEATURES``.
        low: ``(6,)`` measurements are clipped to the range that the weights were fitted on.
        high: ``(6,)``.
        bias: is added.
        pauses: ``(P,)`` ascending seconds of silence for each word.
        ceiling: ``(P,)`` never rising: the score, 0 to 100, that the experts hardly ever went beyond with such pauses.
    """

    output: float
    weights: Floats
    low: Floats
    high: Floats
    bias: float
    pauses: Floats
    ceiling: Floats

    def blend(self, outputs: Floats, measured: Floats) -> Floats:
        """Outputs ``(S,)`` together with measurements ``(S, 6)``."""
        blended: Floats = self.output * outputs + np.clip(measured, self.low, self.high) @ self.weights + self.bias
        return blended


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the head's outputs become scores.

    Attributes:
        curves: for each of ``SCORES`` ascending outputs and the scores 0 to 100 there, straight lines between.
        delivery: of those in ``DELIVERED``; what is not there is scored by the head alone.
        mispronounced_below: a word with a phoneme that scores below this is called mispronounced.
        present_above: a word that is less probable than this was left out.
    """

    curves: dict[str, tuple[Floats, Floats]]
    delivery: dict[str, Delivery]
    mispronounced_below: float
    present_above: float

    def __call__(self, score: str, outputs: Floats) -> Floats:
        """Scores of outputs of any shape."""
        calibrated: Floats = np.interp(outputs, *self.curves[score])
        return calibrated

    def words(self, outputs: Floats) -> Floats:
        """Accuracy, stress and total ``(W, 3)`` of outputs ``(W, 3)``."""
        return np.stack([self(name, outputs[:, i]) for i, name in enumerate(WORD_SCORES)], axis=1)

    def sentences(self, outputs: Floats, measured: Floats) -> Floats:
        """Accuracy, fluency, prosody and total ``(S, 4)``.

        Args:
            outputs: ``(S, 4)``.
            measured: ``(S, 6)``, as in ``score_rules.DELIVERY_FEATURES``.
        """
        columns = []
        for i, name in enumerate(SENTENCE_SCORES):
            how = self.delivery.get(name)
            if how is None:
                columns.append(self(name, outputs[:, i]))
                continue
            ceiling = np.interp(measured[:, PAUSES], how.pauses, how.ceiling)
            columns.append(np.minimum(self(name, how.blend(outputs[:, i], measured)), ceiling))
        return np.stack(columns, axis=1)


def load_calibration(folder: Path) -> Calibration:
    """Read a model's calibration.

    Raises:
        OSError, ValueError, KeyError, TypeError: it has none, or not a whole one.
    """
    data = json.loads((folder / CALIBRATION_FILE).read_text(encoding="utf-8"))
    curves = {
        name: (np.array(data["curves"][name]["output"]), np.array(data["curves"][name]["score"])) for name in SCORES
    }
    delivery = {name: _delivery(how) for name, how in data["delivery"].items()}
    return Calibration(curves, delivery, float(data["mispronounced_below"]), float(data["present_above"]))


def _delivery(stored: dict[str, Any]) -> Delivery:
    arrays: dict[str, Any] = {
        part: np.array(value) if isinstance(value, list) else value for part, value in stored.items()
    }
    return Delivery(**arrays)
