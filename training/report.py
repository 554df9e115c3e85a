"""How near the scores come to the experts', by level and fold, beside published figures; and how calibrated they are.

    python -m training.report --scores FILE [FILE ...] [--plot FILE]

``FILE`` is what ``training.score_folds`` wrote: each speaker scored by a model that had not heard them. The curves
onto the experts' scale are fitted here on four folds and applied to the fifth. Published figures are on the corpus's
test half with rounded labels, so that rounding is given too. With several files a table compares them; the plot is of
the first.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.score_calibration import SCORES, SENTENCE_SCORES, WORD_SCORES, Calibration, share_found
from training.calibrate import (
    FALSE_ALARMS,
    WELL_PRONOUNCED,
    fit_calibration,
    word_numbers,
    worst_phonemes,
)

Floats = NDArray[np.float64]

PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "Kaldi GOP baseline": (0.45, None, None, None, None, None, None, None),
    "GOPT (2022)": (0.612, 0.533, None, 0.549, 0.714, 0.753, 0.760, 0.742),
    "3M (2022)": (0.656, 0.598, None, 0.617, 0.760, 0.828, 0.827, 0.796),
    "Azure (as reported)": (None, 0.623, None, None, 0.700, 0.715, 0.842, 0.782),
    "HMamba (2025)": (0.739, 0.708, None, 0.718, 0.807, 0.848, 0.843, 0.829),
}
"""Pearson correlations on the test half, in the order of ``SCORES``."""

WRONG_BELOW = (0.5, 1.0)
"""Experts' phoneme scores, 0 to 2, below which a phoneme counts as mispronounced."""

Table = dict[str, Floats]


@dataclass(frozen=True)
class Pair:
    """Scores and the experts', both 0 to 100, where both are known; the fold of each."""

    ours: Floats
    experts: Floats
    fold: NDArray[np.int64]


def load(path: Path) -> Table:
    """Read the scores."""
    with np.load(path) as stored:
        return dict(stored)


def calibrated(table: Table) -> dict[str, Pair]:
    """The answer's scores, each by curves that were fitted without its fold; what was left out scores 0."""
    pairs: dict[str, list[Pair]] = {name: [] for name in SCORES}
    fold_of = table["fold"].astype(int)
    for fold in np.unique(fold_of):
        inside = only(table, fold_of == fold)
        curves = (
            fit_calibration(only(table, fold_of != fold)) if len(np.unique(fold_of)) > 1 else fit_calibration(table)
        )
        for name, pair in _scored(inside, curves).items():
            pairs[name].append(Pair(*pair, np.full(len(pair[0]), fold)))
    return {
        name: Pair(*(np.concatenate([getattr(p, part) for p in parts]) for part in ("ours", "experts", "fold")))
        for name, parts in pairs.items()
    }


def _scored(table: Table, calibration: Calibration) -> dict[str, tuple[Floats, Floats]]:
    """What the answers have, as ``HeadScorer`` puts it together."""
    absent = np.isnan(table["word"][:, 0]) | (table["present"] < calibration.present_above)
    lost = absent[word_numbers(table)]
    phonemes = np.where(lost, 0.0, calibration("phoneme", np.nan_to_num(table["phoneme"])))
    words = np.where(absent[:, None], 0.0, calibration.words(np.nan_to_num(table["word"])))
    count = len(table["sentence"])

    def in_sentences(values: NDArray[Any], level: str) -> Floats:
        return np.bincount(table[f"{level}_of"].astype(int), values, count).astype(np.float64)

    share = in_sentences(~lost, "phoneme") / in_sentences(np.ones(len(lost)), "phoneme")
    present = in_sentences(np.where(absent, 0.0, table["present"]), "word")
    found = share_found(present / np.maximum(in_sentences(~absent, "word"), 1))
    sentences = calibration.sentences(table["sentence"], table["delivery"]) * (share * found)[:, None]
    scores = {"phoneme": (phonemes, table["phoneme_expert"])}
    for level, names, values in (("word", WORD_SCORES, words), ("sentence", SENTENCE_SCORES, sentences)):
        scores |= {name: (values[:, i], table[f"{level}_expert"][:, i]) for i, name in enumerate(names)}
    known = {name: ~np.isnan(experts) for name, (_, experts) in scores.items()}
    return {name: (ours[known[name]], 100 * experts[known[name]]) for name, (ours, experts) in scores.items()}


def only(table: Table, sentences: NDArray[np.bool_]) -> Table:
    """Some sentences of a table, numbered anew."""
    numbers = np.cumsum(sentences) - 1
    result = {"sentence": table["sentence"][sentences], "sentence_expert": table["sentence_expert"][sentences]}
    result |= {name: table[name][sentences] for name in ("fold", "delivery")}
    for level, names in (
        ("phoneme", ("phoneme", "phoneme_expert", "phoneme_word")),
        ("word", ("word", "word_expert", "present")),
    ):
        rows = sentences[table[f"{level}_of"].astype(int)]
        result |= {name: table[name][rows] for name in names}
        result[f"{level}_of"] = numbers[table[f"{level}_of"].astype(int)[rows]]
    return result


def correlation(pair: Pair, *, rounded: bool = False) -> float:
    """Pearson's, with the experts' means as they are or rounded as the published files are."""
    step = 5.0 if rounded and len(pair.ours) > 30_000 else 10.0  # phonemes to one decimal of 2, the rest to one of 10
    experts = np.rint(pair.experts / step) * step if rounded else pair.experts
    return float(np.corrcoef(pair.ours, experts)[0, 1])


def show_levels(table: Table, pairs: dict[str, Pair]) -> None:
    """Correlations, errors and means at every level."""
    errors, count = table["per"]
    print(f"phoneme error rate of the free decode: {errors / count:.4f}\n")
    print(f"{'Pearson correlation':22s}" + "".join(f"{name.removeprefix('sentence_'):>15s}" for name in SCORES))
    for name, row in PUBLISHED.items():
        print(f"{name:22s}" + "".join(f"{'' if value is None else f'{value:.3f}':>15s}" for value in row))
    rows = {
        "**ours**": [correlation(p) for p in pairs.values()],
        "ours, rounded labels": [correlation(p, rounded=True) for p in pairs.values()],
    }
    for fold in np.unique(table["fold"]):
        inside = [Pair(*(v[p.fold == fold] for v in (p.ours, p.experts, p.fold))) for p in pairs.values()]
        rows[f"ours, fold {int(fold)}"] = [correlation(p) for p in inside]
    rows["mean squared error"] = [float(((p.ours - p.experts) ** 2).mean()) for p in pairs.values()]
    rows["mean"] = [float(p.ours.mean()) for p in pairs.values()]
    rows["experts' mean"] = [float(p.experts.mean()) for p in pairs.values()]
    for name, values in rows.items():
        print(f"{name:22s}" + "".join(f"{value:15.3f}" for value in values))


def reliability(pair: Pair, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, experts' mean and size of equal shares of the scores, lowest first; equal scores stay together."""
    edges = np.unique(np.quantile(pair.ours, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, pair.ours, side="right") - 1, 0, len(edges) - 2)
    groups = [place == i for i in range(len(edges) - 1)]
    return [(float(pair.ours[g].mean()), float(pair.experts[g].mean()), int(g.sum())) for g in groups if g.any()]


def show_reliability(pairs: dict[str, Pair]) -> None:
    """Whether each score means what the experts' does."""
    print("\nreliability: scores in tenths, lowest first, as ours/experts'")
    for name, pair in pairs.items():
        points = reliability(pair)
        rising = all(a[1] <= b[1] + 0.1 for a, b in pairwise(points))
        shown = " ".join(f"{ours:.0f}/{experts:.0f}" for ours, experts, _ in points)
        print(f"  {name:20s} {shown}  {'monotone' if rising else 'NOT MONOTONE'}")


def show_detection(table: Table) -> None:
    """Precision and recall of mispronounced phonemes, and false alarms on words, at the service's operating point."""
    calibration = fit_calibration(table)
    bound = calibration.mispronounced_below
    scores = np.nan_to_num(calibration("phoneme", table["phoneme"]), nan=0.0)
    known = ~np.isnan(table["phoneme_expert"])
    flagged = scores[known] < bound
    print(f"\nmispronounced below {bound:.1f}: at most {100 * FALSE_ALARMS:.0f} % of good words are called wrong")
    for limit in WRONG_BELOW:
        wrong = 2 * table["phoneme_expert"][known] < limit
        right = (flagged & wrong).sum()
        precision, recall = right / max(1, flagged.sum()), right / wrong.sum()
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"  phonemes the experts put below {limit}: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}")
    well = table["word_expert"][:, 0] >= WELL_PRONOUNCED
    called = worst_phonemes(table, calibration) < bound
    lowest = np.full(len(well), 9.0)
    np.minimum.at(lowest, word_numbers(table), np.nan_to_num(2 * table["phoneme_expert"], nan=2.0))
    print(f"  words: {100 * called[well].mean():.1f} % of the well-pronounced called wrong", end="")
    for limit in WRONG_BELOW:
        wrong = lowest < limit
        right = (called & wrong).sum()
        print(
            f"; with a phoneme below {limit}: precision {right / called.sum():.3f}, recall {right / wrong.sum():.3f}",
            end="",
        )
    print()


def plot(pairs: dict[str, Pair], path: Path) -> None:
    """Reliability of every score, beside the diagonal."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 4, figsize=(13, 6.5), layout="constrained")
    for axis, (name, pair) in zip(axes.flat, pairs.items(), strict=True):
        points = np.array(reliability(pair, 20))
        axis.plot([0, 100], [0, 100], color="0.8", linewidth=1)
        axis.plot(points[:, 0], points[:, 1], marker="o", markersize=4)
        axis.set(
            title=f"{name.replace('_', ' ')}, r = {correlation(pair):.3f}", xlim=(0, 102), ylim=(0, 102), aspect="equal"
        )
    figure.supxlabel("score of the service, in twentieths of all")
    figure.supylabel("mean of the experts")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def compare(tables: Sequence[tuple[str, Table]]) -> None:
    """Correlations of several files on the recordings that all of them have, each calibrated on its own."""
    names = "".join(f"{name.removeprefix('sentence_'):>15s}" for name in SCORES)
    shared = set.intersection(*(set(np.unique(table["fold"])) for _, table in tables))
    least = {fold: min(int((table["fold"] == fold).sum()) for _, table in tables) for fold in shared}
    print("\nthe first", ", ".join(f"{count} of fold {int(fold)}" for fold, count in least.items()))
    print(f"{'Pearson correlation':22s}{names}")
    for name, table in tables:
        first = np.zeros(len(table["fold"]), bool)
        for fold, count in least.items():
            first[np.flatnonzero(table["fold"] == fold)[:count]] = True
        pairs = _scored(only(table, first), fit_calibration(table))
        values = [correlation(Pair(*pair, np.zeros(0, int))) for pair in pairs.values()]
        errors, phonemes = table["per"]
        print(
            f"{name:22s}"
            + "".join(f"{value:15.3f}" for value in values)
            + f"  ({errors / phonemes:.4f} phoneme errors)"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="what training.score_folds wrote")
    parser.add_argument("--plot", type=Path, help="write the reliability curves there")
    args = parser.parse_args()
    tables = [(path.stem, load(path)) for path in args.scores]
    pairs = calibrated(tables[0][1])
    show_levels(tables[0][1], pairs)
    show_reliability(pairs)
    show_detection(tables[0][1])
    if len(tables) > 1:
        compare(tables)
    if args.plot:
        plot(pairs, args.plot)
        print(f"wrote {args.plot}")


if __name__ == "__main__":
    main()
