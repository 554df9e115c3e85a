from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.tokens import fold, is_word, strip_punctuation


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Zürich", "Zurich"),
        ("straße", "strasse"),
        ("don’t", "don't"),
        ("e\u0301te\u0301", "ete"),
        ("٣", "3"),
        ("be\u200bar", "bear"),
        ("bear™", "bear"),
        ("α", "alpha"),
        ("中", ""),
    ],
)
def test_folding_leaves_what_english_can_say(written: str, folded: str) -> None:
    assert fold(written) == folded


@given(st.text(st.characters(codec="ascii", exclude_categories=["C"])))
def test_printable_ascii_is_left_alone_but_for_quotes(token: str) -> None:
    assert fold(token) == token.replace("`", "'")


@pytest.mark.parametrize(
    ("token", "word"), [("a", True), ("½", True), ("5%", True), ("中", True), ("_", False), ("%", False)]
)
def test_a_word_has_a_letter_or_a_digit(token: str, word: bool) -> None:
    assert is_word(token) is word


@pytest.mark.parametrize(
    ("token", "core", "dotted"),
    [
        ("bear.", "bear", True),
        ("bear...", "bear", False),
        ("(-$5.50),", "-$5.50", False),
        ("'hello'", "hello", False),
        ("'em", "'em", False),
        ("dogs'", "dogs'", False),
        ("'dogs'", "dogs", False),
        ("5'10\"", "5'10\"", False),
        ('"5"', "5", False),
        ("C++,", "C++", False),
        ("...", "", False),
    ],
)
def test_punctuation_goes_unless_it_is_said(token: str, core: str, dotted: bool) -> None:
    assert strip_punctuation(token) == (core, dotted)
