"""The scores that a model gives to speakers it has not heard, kept beside the experts'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from app.core.acoustic_model import ElocuteForScoring
from app.core.scoring_head import HeadOutputs
from training.forward import hear, read
from training.lessons import Material, in_order
from training.readings import Reading, targets_of

Table = dict[str, NDArray[Any]]


@torch.no_grad()
def score_held_out(model: ElocuteForScoring, material: Material, path: Path) -> dict[str, float]:
    """Score every recording with its own text and write an ``.npz`` file.

    It has, for each level (``phoneme``, ``word``, ``sentence``), the model's scores and the experts' (``…_expert``),
    both 0 to 1 and one row for each, and the number of the recording (``…_of``); ``names``; and ``per``, the phoneme
    errors of the free decode and the phonemes there are.

    Returns:
        Pearson correlations by level, and the phoneme error rate.
    """
    model.eval()
    parts: list[Table] = []
    errors = total = 0
    for numbers, lesson in tqdm(in_order(material), "scoring", mininterval=5):
        heard = hear(model, lesson)
        scores, kept = read(model, heard, lesson)
        parts += _rows(scores, [lesson.readings[i] for i in kept], [numbers[i] for i in kept])
        best = heard.log_probs.argmax(-1).cpu().numpy()
        for row, number in enumerate(numbers):
            expected = material.utterances[number].phoneme_ids
            errors += Levenshtein.distance(collapse(best[row, : lesson.frames[row]]), expected)
            total += len(expected)
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = [utterance.utterance for utterance in material.utterances]
    arrays: dict[str, Any] = {**table, "names": names, "per": np.array([errors, total])}
    np.savez_compressed(path, **arrays)
    figures = correlations(table) | {"per": errors / total}
    print(" ".join(f"{name} {value:.4f}" for name, value in figures.items()))
    return figures


def _rows(scores: HeadOutputs, readings: Sequence[Reading], numbers: Sequence[int]) -> list[Table]:
    """The scores of each recording beside the experts', without padding."""
    targets = targets_of(readings)
    levels = (
        ("phoneme", scores.phonemes, targets.phonemes),
        ("word", scores.words, targets.words),
        ("sentence", scores.sentence[:, None], targets.sentence[:, None]),
    )
    tables = []
    for row, (reading, number) in enumerate(zip(readings, numbers, strict=True)):
        sizes = {"phoneme": len(reading.phonemes), "word": len(reading.words), "sentence": 1}
        table: Table = {}
        for level, ours, experts in levels:
            table[level] = ours[row, : sizes[level]].cpu().numpy()
            table[f"{level}_expert"] = experts[row, : sizes[level]]
            table[f"{level}_of"] = np.full(sizes[level], number)
        tables.append(table)
    return tables


def correlations(table: Table) -> dict[str, float]:
    """Pearson correlation with the experts at every level."""
    columns = {
        "phoneme": (table["phoneme"], table["phoneme_expert"]),
        "word_accuracy": (table["word"][:, 0], table["word_expert"][:, 0]),
        "word_stress": (table["word"][:, 1], table["word_expert"][:, 1]),
        "word_total": (table["word"][:, 2], table["word_expert"][:, 2]),
        "accuracy": (table["sentence"][:, 0], table["sentence_expert"][:, 0]),
        "fluency": (table["sentence"][:, 1], table["sentence_expert"][:, 1]),
        "prosody": (table["sentence"][:, 2], table["sentence_expert"][:, 2]),
        "total": (table["sentence"][:, 3], table["sentence_expert"][:, 3]),
    }
    figures = {}
    for name, (ours, experts) in columns.items():
        known = ~np.isnan(experts)
        figures[name] = float(np.corrcoef(ours[known], experts[known])[0, 1])
    return figures


def collapse(best: NDArray[np.int64]) -> list[int]:
    """The classes of a greedy decode, from the best class of each frame ``(T,)``: repeats to one, blanks to none."""
    changes = np.flatnonzero(np.diff(best, prepend=-1))
    return [int(c) for c in best[changes] if c]
