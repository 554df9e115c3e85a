"""Calibration puts outputs on the experts' scale without changing their order."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.score_calibration import CALIBRATION_FILE, PAUSES, SCORES, load_calibration
from training import calibrate
from training.calibrate import (
    FALSE_ALARMS,
    WELL_PRONOUNCED,
    Floats,
    columns,
    fit_calibration,
    fit_curve,
    fit_delivery,
    operating_point,
    worst_phonemes,
)


def make_table(seed: int, recordings: int = 60) -> dict[str, Floats]:
    """Scores as ``training.score_folds`` writes them: outputs near what the experts say, some words left out."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Floats]] = {}
    for number in range(recordings):
        sizes = rng.integers(1, 5, rng.integers(1, 6))
        level = {"phoneme": (int(sizes.sum()),), "word": (len(sizes), 3), "sentence": (1, 4)}
        for name, shape in level.items():
            experts = rng.choice([0.2, 0.6, 0.8, 1.0, 1.0], shape)
            parts.setdefault(f"{name}_expert", []).append(experts)
            parts.setdefault(name, []).append(0.4 + 0.4 * experts**2 + rng.normal(0, 0.1, shape))
            parts.setdefault(f"{name}_of", []).append(np.full(shape[0], number))
        silence = float(rng.choice([0.0, 0.0, rng.uniform(0, 1)]))
        parts.setdefault("delivery", []).append(
            np.array([[2.4, 2.8, 0.9, 0.1, silence, 6.0]]) + rng.normal(0, 0.01, (1, 6))
        )
        word = np.repeat(np.arange(len(sizes)), sizes)
        parts.setdefault("phoneme_word", []).append(word.astype(np.float64))
        if number % 7 == 0:
            parts["phoneme"][-1][word == 0] = np.nan
            parts["word"][-1][0] = np.nan
    return {name: np.concatenate(values) for name, values in parts.items()}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2000, 6000]), st.floats(0.02, 0.2))
def test_a_curve_rises_and_keeps_the_mean(seed: int, count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    experts = np.clip(rng.normal(0.8, 0.2, count), 0, 1).round(1)
    outputs = 0.3 + 0.5 * experts + rng.normal(0, noise, count)
    output, score = fit_curve(outputs, experts)
    assert (np.diff(output) > 0).all()
    assert (np.diff(score) >= 0).all()
    assert 0 <= score.min() <= score.max() <= 100
    assert np.interp(outputs, output, score).mean() / 100 == pytest.approx(experts.mean(), abs=0.01)


def test_scores_that_are_not_known_are_not_looked_at() -> None:
    table = make_table(0)
    table["word_expert"][3, 1] = np.nan
    pairs = columns(table, {})
    assert tuple(pairs) == SCORES
    lost = int(np.isnan(table["word"][:, 0]).sum())
    assert lost > 0
    assert len(pairs["word_accuracy"][0]) == len(table["word"]) - lost
    assert len(pairs["word_stress"][0]) == len(table["word"]) - lost - 1
    assert all(np.isfinite(ours).all() and np.isfinite(experts).all() for ours, experts in pairs.values())


@pytest.mark.parametrize("seed", range(5))
def test_few_well_pronounced_words_are_flagged(seed: int) -> None:
    table = make_table(seed)
    calibration = fit_calibration(table)
    well = table["word_expert"][:, 0] >= WELL_PRONOUNCED
    bound = operating_point(table, calibration)
    assert bound == calibration.mispronounced_below
    assert (worst_phonemes(table, calibration)[well] < bound).mean() <= FALSE_ALARMS


def test_a_word_is_as_good_as_its_worst_phoneme() -> None:
    table = {
        "phoneme": np.array([0.9, 0.5, 0.7, 0.4, np.nan]),
        "phoneme_of": np.array([0, 0, 0, 1, 1]),
        "phoneme_word": np.array([0, 0, 1, 0, 1]),
        "word": np.zeros((4, 3)),
        "word_of": np.array([0, 0, 1, 1]),
    }
    assert worst_phonemes(table, calibrate.NEUTRAL) == pytest.approx([50, 70, 40, 0])


def test_the_command_writes_what_the_service_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table: dict[str, Any] = dict(make_table(1))
    np.savez_compressed(tmp_path / "scores.npz", **table)
    monkeypatch.setattr(sys, "argv", ["calibrate", "--scores", str(tmp_path / "scores.npz"), "--model", str(tmp_path)])
    calibrate.main()
    assert "wrote" in capsys.readouterr().out
    expected, written = fit_calibration(table), load_calibration(tmp_path)
    assert set(written.delivery) == set(expected.delivery)
    assert written.mispronounced_below == pytest.approx(expected.mispronounced_below, abs=0.01)
    outputs = np.linspace(0, 1, 50)
    for name in SCORES:
        assert written(name, outputs) == pytest.approx(expected(name, outputs), abs=0.2)
    assert set(json.loads((tmp_path / CALIBRATION_FILE).read_text(encoding="utf-8"))["curves"]) == set(SCORES)


def test_silence_lowers_what_fluency_can_be() -> None:
    table = make_table(2, recordings=300)
    silence = np.clip(table["delivery"][:, PAUSES], 0, None)
    table["delivery"][:, PAUSES] = silence
    table["sentence_expert"][:, 1] = np.clip(0.95 - 0.6 * silence, 0, 1)
    how = fit_delivery(table["sentence"][:, 1], table["delivery"], table["sentence_expert"][:, 1])
    assert how.weights[PAUSES] < 0
    assert (np.diff(how.ceiling) <= 0).all()
    assert how.ceiling[0] == 100
    halting = fit_calibration(table).sentences(
        np.full((2, 4), 0.9), np.array([[2.4, 2.8, 0.9, 0.1, s, 6.0] for s in (0, 0.8)])
    )
    assert halting[1, 1] < halting[0, 1] - 20
