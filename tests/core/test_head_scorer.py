"""The scorer around the head: what it loads and refuses, how it reads long texts, and what calibration does."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.acoustic_engine import BUILT_IN_MODEL
from app.core.alignment import AlignedWord
from app.core.errors import ModelError
from app.core.head_scorer import HEAD_FILE, MAX_SENTENCE_PHONEMES, HeadScorer, sentence_parts
from app.core.rule_scorer import RuleScorer
from app.core.score_calibration import CALIBRATION_FILE, SCORES, load_calibration
from app.core.score_rules import load_rules

FILES = (HEAD_FILE, CALIBRATION_FILE, "model.safetensors")


def aligned(sizes: list[int], gaps: list[int]) -> list[AlignedWord]:
    """Words of so many phonemes, two frames each, with so many frames before each."""
    words, at = [], 0
    for size, gap in zip(sizes, gaps, strict=True):
        starts = tuple(at + gap + 2 * i for i in range(size))
        words.append(AlignedWord(0, starts, starts, tuple(start + 2 for start in starts)))
        at += gap + 2 * size
    return words


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=40))
def test_a_long_text_is_read_in_parts(words: list[tuple[int, int]]) -> None:
    sizes, gaps = [size for size, _ in words], [gap for _, gap in words]
    parts = sentence_parts(sizes, aligned(sizes, gaps))
    assert parts[0][0] == 0
    assert parts[-1][1] == len(sizes)
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    for first, last in parts:
        assert first < last
        assert last - first == 1 or sum(sizes[first:last]) <= MAX_SENTENCE_PHONEMES
    assert len(parts) == 1 or sum(sizes) > MAX_SENTENCE_PHONEMES


def test_a_long_text_is_cut_at_a_silence() -> None:
    sizes = [5] * 12
    gaps = [0, *[1] * 4, 40, *[1] * 6]
    assert sentence_parts(sizes, aligned(sizes, gaps)) == [(0, 5), (5, 12)]
    assert sentence_parts(sizes, aligned(sizes, [1] * 12)) == [(0, 6), (6, 12)]


@pytest.fixture(scope="module")
def rules() -> RuleScorer:
    return RuleScorer(load_rules())


@pytest.mark.parametrize("broken", [*FILES, "garbage", "a curve", "no JSON"])
def test_a_folder_without_a_whole_head_is_refused(tmp_path: Path, rules: RuleScorer, broken: str) -> None:
    for name in FILES:
        if name != broken:
            shutil.copy(BUILT_IN_MODEL / name, tmp_path)
    if broken == "garbage":
        (tmp_path / HEAD_FILE).write_bytes(b"no graph")
    if broken == "a curve":
        calibration = json.loads((BUILT_IN_MODEL / CALIBRATION_FILE).read_text(encoding="utf-8"))
        del calibration["curves"]["word_stress"]
        (tmp_path / CALIBRATION_FILE).write_text(json.dumps(calibration), encoding="utf-8")
    if broken == "no JSON":
        (tmp_path / CALIBRATION_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="no scoring head"):
        HeadScorer(tmp_path, rules)


def test_the_built_in_head_is_loaded(rules: RuleScorer) -> None:
    HeadScorer(BUILT_IN_MODEL, rules)


def test_the_built_in_curves_rise_from_0_to_100_at_most() -> None:
    calibration = load_calibration(BUILT_IN_MODEL)
    outputs = np.linspace(-0.5, 1.5, 200)
    for name in SCORES:
        scores = calibration(name, outputs)
        assert (np.diff(scores) >= 0).all()
        assert 0 <= scores[0] < scores[-1] <= 100
    assert 0 < calibration.mispronounced_below < 100
    assert 0 < calibration.present_above < 1
