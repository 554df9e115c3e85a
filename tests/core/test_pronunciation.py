from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.phonemes import PHONEMES
from app.core.pronunciation import best_products, join, parse_pronunciation


def test_stress_digits_and_case_are_read() -> None:
    parsed = parse_pronunciation(["b", "Eh1", "R", "iy"])
    assert parsed.phonemes == ("B", "EH", "R", "IY")
    assert parsed.stresses == (None, 1, None, None)


def test_a_stress_digit_on_a_consonant_is_dropped() -> None:
    assert parse_pronunciation(["K1"]).stresses == (None,)


@pytest.mark.parametrize("symbols", [[], [""], ["XX"], ["EH3"], ["<blank>"], ["EH1", "BÄR"]])
def test_what_is_no_phoneme_is_refused(symbols: list[str]) -> None:
    with pytest.raises(ValueError, match="phoneme"):
        parse_pronunciation(symbols)


@given(st.lists(st.sampled_from(PHONEMES), min_size=1))
def test_every_sequence_of_phonemes_is_read_as_it_is(phonemes: list[str]) -> None:
    assert parse_pronunciation(phonemes).phonemes == tuple(phonemes)


def test_joined_pronunciations_follow_each_other() -> None:
    joined = join([parse_pronunciation(["T", "UW1"]), parse_pronunciation(["B", "IY0"])])
    assert joined == parse_pronunciation(["T", "UW1", "B", "IY0"])


def test_products_come_best_first() -> None:
    picks = list(best_products(["ab", "xyz"], 100))
    assert [rank for rank, _ in picks] == [0, 1, 1, 2, 2, 3]
    assert picks[0] == (0, ("a", "x"))
    assert len({pick for _, pick in picks}) == 6


@given(st.lists(st.text(alphabet="abcd", min_size=1, max_size=4), max_size=60), st.integers(1, 30))
def test_products_are_limited_however_many_there_are(choices: list[str], limit: int) -> None:
    picks = list(best_products(choices, limit))
    assert 1 <= len(picks) <= limit
    assert picks[0] == (0, tuple(choice[0] for choice in choices))
