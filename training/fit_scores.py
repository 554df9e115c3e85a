"""Fit the rules that map measurements to scores, on the development speakers, and report them by cross-validation.

    python -m training.fit_scores --data DATA [--model FOLDER] [--write]

The development speakers must be new to the acoustic model, as users are, for posteriors of its training speakers are
too good: give a model that was trained with ``--fold 0``. Each figure comes from five folds by speaker: a rule never
sees the speakers that it is measured on. With ``--write``, the rules fitted on all 25 speakers go to
``app/data/score_rules.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from tqdm import tqdm

from app.core.acoustic_engine import BUILT_IN_MODEL, AcousticEngine, load_engine
from app.core.goodness import WordGoodness, phoneme_features
from app.core.phonemes import CLASS_IDS
from app.core.pronunciation_scorer import measure_words
from app.core.rule_scorer import delivery_features, sentence_features, word_features
from app.core.score_rules import BUILT_IN_RULES, Rule
from training.corpus import Utterance, load_audio, load_corpus, split_by_speaker
from training.listening import listen_to_corpus

Floats = NDArray[np.float64]
FOLDS = 5
FALSE_ALARMS = 0.05
GOOD_WORD = 80.0


@dataclass(frozen=True)
class Measured:
    """One recording: what the service measures, by word and for the whole.

    Attributes:
        utterance: with the experts' scores.
        phonemes: for each word ``(n, 5)``, see ``app.core.goodness.FEATURES``.
        words: goodness of each word, None for one left out.
        delivery: ``(6,)``, see ``app.core.score_rules.DELIVERY_FEATURES``.
        decoded: the free decode as classes.
    """

    utterance: Utterance
    phonemes: list[Floats]
    words: list[WordGoodness | None]
    delivery: Floats
    decoded: list[int]


def measure(engine: AcousticEngine, utterances: Sequence[Utterance]) -> list[Measured]:
    """Run the service's own stages over recordings."""
    heard = listen_to_corpus(engine, utterances, load_audio(utterances))
    measured = []
    for utterance, spoken in zip(utterances, tqdm(heard, "measuring", len(utterances), unit="file"), strict=True):
        goodness = measure_words(spoken)
        said = sum(word is not None for word in goodness)
        measured.append(
            Measured(
                utterance=utterance,
                phonemes=phoneme_features(goodness, [len(word["phones"]) for word in utterance.words]),
                words=goodness,
                delivery=delivery_features(spoken.fluency, said, spoken.pitch.range_semitones),
                decoded=[CLASS_IDS[h.phoneme] for h in spoken.heard],
            )
        )
    return measured


def phoneme_error_rate(measured: Sequence[Measured]) -> float:
    """Substitutions, deletions and insertions over the number of canonical phonemes, pooled over all recordings."""
    errors = sum(Levenshtein.distance(m.utterance.phoneme_ids, m.decoded) for m in measured)
    return errors / sum(len(m.utterance.phoneme_ids) for m in measured)


@dataclass(frozen=True)
class Table:
    """Measurements ``x`` (N, F) and expert scores ``y`` (N,), 0..100, of ``speaker`` (N,)."""

    x: Floats
    y: Floats
    speaker: NDArray[np.str_]


def fit_rule(x: Floats, y: Floats, *, bend: bool) -> Rule:
    """A weighted sum by ridge regression; with ``bend`` then a monotone curve, else a straight line onto 0..100."""
    low, high = np.percentile(x, (0.5, 99.5), axis=0)
    clipped = np.clip(x, low, high)
    scale = clipped.std(axis=0) + 1e-9
    ridge = Ridge(alpha=1.0).fit(clipped / scale, y)
    weights = ridge.coef_ / scale
    total = clipped @ weights
    if bend:
        curve = IsotonicRegression(out_of_bounds="clip", y_min=0, y_max=100).fit(total, y)
        knots = np.unique(np.percentile(total, np.linspace(0, 100, 41)))
        return Rule(low, high, weights, knots, np.maximum.accumulate(curve.predict(knots)))
    ends = np.array([0.0, 100.0]) - ridge.intercept_
    return Rule(low, high, weights, ends, np.array([0.0, 100.0]))


def cross_validate(table: Table, *, bend: bool) -> Floats:
    """Scores (N,) that each come from a rule fitted without their speaker."""
    out = np.zeros(len(table.y))
    for fit, held in GroupKFold(FOLDS).split(table.x, table.y, table.speaker):
        out[held] = fit_rule(table.x[fit], table.y[fit], bend=bend)(table.x[held])
    return out


def phoneme_table(measured: Sequence[Measured]) -> Table:
    """Every phoneme that has an expert score."""
    x, y, speaker = [], [], []
    for m in measured:
        for features, word in zip(m.phonemes, m.utterance.words, strict=True):
            if word["phone_accuracy"] is not None:
                x.append(features)
                y += [50.0 * score for score in word["phone_accuracy"]]
                speaker += [m.utterance.speaker] * len(features)
    return Table(np.concatenate(x), np.array(y), np.array(speaker))


def all_phonemes(measured: Sequence[Measured]) -> Floats:
    """The features of every phoneme, scored by the experts or not, in order."""
    return np.concatenate([features for m in measured for features in m.phonemes])


def higher_tables(measured: Sequence[Measured], phoneme_scores: Floats) -> dict[str, Table]:
    """Tables of words and sentences, on phoneme scores that no rule fitted on the same speaker gave."""
    kinds = {"word_accuracy": "accuracy", "word_stress": "stress", "word_total": "total"}
    sentence_kinds = {"accuracy": "accuracy", "fluency": "fluency", "prosody": "prosodic", "total": "total"}
    rows: dict[str, list[tuple[Floats, float, str]]] = {}
    at = 0
    for m in measured:
        said, peaks = [], []
        for features, goodness, word in zip(m.phonemes, m.words, m.utterance.words, strict=True):
            scores = phoneme_scores[at : at + len(features)]
            at += len(features)
            if goodness is None:
                continue
            said.append(scores)
            peaks.append(goodness.figures[:, 0])
            for name, kind in kinds.items():
                rows.setdefault(name, []).append((word_features(scores), 10 * word[kind], m.utterance.speaker))
        if not said:
            continue
        whole = sentence_features(np.concatenate(said), np.concatenate(peaks), m.delivery)
        for name, kind in sentence_kinds.items():
            rows.setdefault(name, []).append((whole, 10 * m.utterance.scores[kind], m.utterance.speaker))
        fluency = (m.delivery, 10 * m.utterance.scores["fluency"], m.utterance.speaker)
        rows.setdefault("fluency_unscripted", []).append(fluency)
    return {
        name: Table(np.array([x for x, _, _ in r]), np.array([y for _, y, _ in r]), np.array([s for _, _, s in r]))
        for name, r in rows.items()
    }


def operating_point(table: Table) -> float:
    """The phoneme score below which a word is called wrong, so that few well-pronounced words are."""
    worst = table.x[:, 1]
    return float(np.percentile(worst[table.y >= GOOD_WORD], 100 * FALSE_ALARMS))


def out_of_fold_phonemes(measured: Sequence[Measured], table: Table) -> Floats:
    """Scores of all phonemes from rules that did not see their speaker."""
    x = all_phonemes(measured)
    speaker = np.array([m.utterance.speaker for m in measured for f in m.phonemes for _ in range(len(f))])
    out = np.zeros(len(x))
    for fit, held in GroupKFold(FOLDS).split(table.x, table.y, table.speaker):
        rule = fit_rule(table.x[fit], table.y[fit], bend=True)
        rows = np.isin(speaker, np.unique(table.speaker[held]))
        out[rows] = rule(x[rows])
    return out


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--model", type=Path, default=BUILT_IN_MODEL)
    parser.add_argument("--float", action="store_true", help="without int8 quantization")
    parser.add_argument("--write", action="store_true", help=f"write {BUILT_IN_RULES.name}")
    args = parser.parse_args()
    _, dev = split_by_speaker(load_corpus(args.data))
    engine = load_engine(str(args.model), quantized=not args.float)
    measured = measure(engine, dev)
    print(f"{engine.name}: {len(dev)} recordings of {len({u.speaker for u in dev})} development speakers")
    print(f"phoneme error rate, greedy decode against the canonical phonemes: {phoneme_error_rate(measured):.4f}")

    phonemes = phoneme_table(measured)
    print("\nPearson correlation with the experts' mean, five folds by speaker")
    peak = np.corrcoef(phonemes.x[:, 0], phonemes.y)[0, 1]
    print(f"  {'phoneme, peak log-posterior as it is':40s} {peak:.3f}")
    rules = {"phoneme": fit_rule(phonemes.x, phonemes.y, bend=True)}
    print(f"  {'phoneme':40s} {np.corrcoef(cross_validate(phonemes, bend=True), phonemes.y)[0, 1]:.3f}")
    tables = higher_tables(measured, out_of_fold_phonemes(measured, phonemes))
    for name, table in tables.items():
        bend = name.startswith("word")
        rules[name] = fit_rule(table.x, table.y, bend=bend)
        print(f"  {name:40s} {np.corrcoef(cross_validate(table, bend=bend), table.y)[0, 1]:.3f}")
    threshold = operating_point(tables["word_accuracy"])
    print(f"\na word is mispronounced if a phoneme scores below {threshold:.1f}")
    if args.write:
        data = {
            "mispronounced_below": round(threshold, 2),
            "rules": {
                name: {p: [round(float(v), 5) for v in getattr(rule, p)] for p in Rule.__slots__}
                for name, rule in rules.items()
            },
        }
        BUILT_IN_RULES.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {BUILT_IN_RULES}")


if __name__ == "__main__":
    main()
