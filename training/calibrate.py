"""Put the scoring head's outputs on the experts' scale, and choose the operating point of its errors.

    python -m training.calibrate --scores FILE --model FOLDER

``FILE`` is what ``training.score_folds`` wrote: each speaker scored by a model that had not heard them. For each score
a monotone curve is fitted (isotonic regression, drawn through a few knots); the curves go to
``FOLDER/calibration.json``. A word counts as mispronounced if its worst phoneme is below a bound that at most 5 % of
well-pronounced words are below.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge

from app.core.score_calibration import (
    CALIBRATION_FILE,
    DELIVERED,
    PAUSES,
    SCORES,
    SENTENCE_SCORES,
    WORD_SCORES,
    Calibration,
    Delivery,
)

Floats = NDArray[np.float64]

FALSE_ALARMS = 0.05
WELL_PRONOUNCED = 0.8
"""Experts' word accuracy, of 1, from which a word is well pronounced."""
PRESENT_ABOVE = 0.3
"""A word that the head finds less probable than this was left out; chosen by ``training.tune_alignment``."""
CEILING = 97.5
"""Percentile of the experts' scores, among recordings with so much silence or more, that a score may not go beyond."""

NEUTRAL = Calibration({name: (np.array([0.0, 1.0]), np.array([0.0, 100.0])) for name in SCORES}, {}, 0.0, 0.0)
"""Outputs as they are, times a hundred."""

_KNOTS = (0, 0.5, 1, 2, 3, 5, 8, 12, 18, 26, 36, 50, 65, 80, 92, 100)  # percentiles of the outputs


def columns(table: dict[str, Floats], delivery: dict[str, Delivery]) -> dict[str, tuple[Floats, Floats]]:
    """Outputs, about 0 to 1, and experts' scores of each of ``SCORES``, as far as both are known."""
    pairs = {"phoneme": (table["phoneme"], table["phoneme_expert"])}
    for level, names in (("word", WORD_SCORES), ("sentence", SENTENCE_SCORES)):
        for i, name in enumerate(names):
            pairs[name] = (table[level][:, i], table[f"{level}_expert"][:, i])
    for name, how in delivery.items():
        pairs[name] = (how.blend(pairs[name][0], table["delivery"]), pairs[name][1])
    known = {name: ~np.isnan(ours) & ~np.isnan(experts) for name, (ours, experts) in pairs.items()}
    return {name: (ours[known[name]], experts[known[name]]) for name, (ours, experts) in pairs.items()}


def fit_delivery(outputs: Floats, measured: Floats, experts: Floats) -> Delivery:
    """How much the head's output and each measurement count, by ridge regression; and the ceiling over silence.

    Args:
        outputs: ``(S,)`` of the head.
        measured: ``(S, 6)``, as in ``score_rules.DELIVERY_FEATURES``.
        experts: ``(S,)`` scores, 0 to 1.
    """
    low, high = np.percentile(measured, (1, 99), axis=0)
    ridge = Ridge(alpha=1.0).fit(np.column_stack([outputs, np.clip(measured, low, high)]), experts)
    silence = measured[:, PAUSES]
    pauses = np.array([0.0, *np.percentile(silence[silence > 0], (20, 40, 60, 75, 88, 96))])
    ceiling = [np.percentile(experts[silence >= pause], CEILING) for pause in pauses]
    ceiling[0] = 1.0
    return Delivery(
        output=float(ridge.coef_[0]),
        weights=ridge.coef_[1:],
        low=low,
        high=high,
        bias=float(ridge.intercept_),
        pauses=pauses,
        ceiling=100 * np.minimum.accumulate(ceiling),
    )


def fit_curve(outputs: Floats, experts: Floats) -> tuple[Floats, Floats]:
    """A monotone curve from outputs to scores 0 to 100, strictly rising in its outputs.

    Scores at the knots are those of straight lines between them that fit best, started from isotonic regression.
    """
    knots = np.unique(np.percentile(outputs, _KNOTS))
    isotonic = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=1).fit(outputs, experts)
    place = np.clip(np.searchsorted(knots, outputs, side="right") - 1, 0, len(knots) - 2)
    share = (outputs - knots[place]) / (knots[place + 1] - knots[place])
    basis = np.zeros((len(outputs), len(knots)))
    rows = np.arange(len(outputs))
    basis[rows, place], basis[rows, place + 1] = 1 - share, share
    pull = 5.0 * np.eye(len(knots))  # towards the isotonic fit, where there are few
    wanted = basis.T @ experts + pull @ isotonic.predict(knots)
    scores = np.linalg.solve(basis.T @ basis + pull, wanted)
    return knots, 100 * np.clip(np.maximum.accumulate(scores), 0, 1)


def fit_calibration(table: dict[str, Floats]) -> Calibration:
    """All curves, and the operating point on the calibrated phoneme scores."""
    delivery = {}
    for name in DELIVERED:
        at = SENTENCE_SCORES.index(name)
        delivery[name] = fit_delivery(table["sentence"][:, at], table["delivery"], table["sentence_expert"][:, at])
    curves = {name: fit_curve(*pair) for name, pair in columns(table, delivery).items()}
    calibration = Calibration(curves, delivery, 0.0, PRESENT_ABOVE)
    return replace(calibration, mispronounced_below=operating_point(table, calibration))


def worst_phonemes(table: dict[str, Floats], calibration: Calibration) -> Floats:
    """The lowest calibrated phoneme score of each word; 0 of one left out."""
    scores = np.nan_to_num(calibration("phoneme", table["phoneme"]), nan=0.0)
    worst = np.full(len(table["word"]), 100.0)
    np.minimum.at(worst, word_numbers(table), scores)
    return worst


def word_numbers(table: dict[str, Floats]) -> NDArray[np.int64]:
    """The row in ``word`` of each phoneme."""
    starts = np.searchsorted(table["word_of"], np.arange(int(table["word_of"].max()) + 1))
    numbers: NDArray[np.int64] = starts[table["phoneme_of"].astype(int)] + table["phoneme_word"].astype(int)
    return numbers


def operating_point(table: dict[str, Floats], calibration: Calibration) -> float:
    """The phoneme score below which a word is called wrong, so that few well-pronounced words are."""
    well = table["word_expert"][:, 0] >= WELL_PRONOUNCED
    worst = worst_phonemes(table, calibration)[well]
    return float(np.percentile(worst, 100 * FALSE_ALARMS, method="lower"))


def to_json(calibration: Calibration) -> dict[str, Any]:
    """As ``calibration.json`` has it."""
    curves = {
        name: {"output": [round(float(v), 5) for v in output], "score": [round(float(v), 3) for v in score]}
        for name, (output, score) in calibration.curves.items()
    }
    delivery = {
        name: {part: np.round(value, 5).tolist() for part, value in asdict(how).items()}
        for name, how in calibration.delivery.items()
    }
    return {
        "mispronounced_below": round(calibration.mispronounced_below, 2),
        "present_above": calibration.present_above,
        "curves": curves,
        "delivery": delivery,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, required=True, help="what training.score_folds wrote")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model to calibrate")
    args = parser.parse_args()
    with np.load(args.scores) as stored:
        calibration = fit_calibration(dict(stored))
    path = args.model / CALIBRATION_FILE
    path.write_text(json.dumps(to_json(calibration), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}; a word is mispronounced if a phoneme scores below {calibration.mispronounced_below:.1f}")


if __name__ == "__main__":
    main()
