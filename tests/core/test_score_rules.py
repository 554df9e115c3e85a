"""The fitted rules: a better measurement never scores worse, and no score leaves 0..100."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.goodness import FEATURES
from app.core.score_rules import DELIVERY_FEATURES, SENTENCE_FEATURES, WORD_FEATURES, Rule, load_rules

WIDTHS = {
    "phoneme": len(FEATURES),
    "word_accuracy": len(WORD_FEATURES),
    "word_stress": len(WORD_FEATURES),
    "word_total": len(WORD_FEATURES),
    "accuracy": len(SENTENCE_FEATURES),
    "fluency": len(SENTENCE_FEATURES),
    "prosody": len(SENTENCE_FEATURES),
    "total": len(SENTENCE_FEATURES),
    "fluency_unscripted": len(DELIVERY_FEATURES),
}


@pytest.mark.parametrize("name", list(WIDTHS))
def test_each_rule_fits_its_measurements_and_its_curve_never_falls(name: str) -> None:
    rule: Rule = getattr(load_rules(), name)
    assert rule.low.shape == rule.high.shape == rule.weights.shape == (WIDTHS[name],)
    assert (rule.low <= rule.high).all()
    assert (np.diff(rule.curve_x) > 0).all()
    assert (np.diff(rule.curve_y) >= 0).all()
    assert rule.curve_y.min() >= 0
    assert rule.curve_y.max() <= 100


def test_no_rule_is_untested() -> None:
    rules = load_rules()
    assert {f.name for f in fields(rules)} == {*WIDTHS, "mispronounced_below"}
    assert 0 < rules.mispronounced_below < 100


@given(st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5), st.sampled_from(range(5)), st.floats(0, 1e3))
def test_a_better_phoneme_never_scores_worse(figures: list[float], column: int, more: float) -> None:
    rule = load_rules().phoneme
    better = list(figures)
    better[column] += more * np.sign(rule.weights[column])
    scores = rule(np.array([figures, better]))
    assert 0 <= scores[0] <= scores[1] + 1e-9 <= 100 + 1e-6
