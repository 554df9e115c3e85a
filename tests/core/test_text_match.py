from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.phonemes import PHONEMES
from app.core.text_match import text_found

TURN = "P L IY Z T ER N R AY T AE T DH AH N EH K S T".split()  # noqa: SIM905
SEVERAL = st.lists(st.sampled_from(PHONEMES), max_size=30)


def test_what_is_heard_as_written_is_found() -> None:
    assert text_found(TURN, TURN) == 1.0


def test_a_poor_reader_s_text_is_found() -> None:
    heard = [phoneme if place % 2 else "AH" for place, phoneme in enumerate(TURN)]
    assert text_found(heard, TURN) == 1.0


@pytest.mark.parametrize("heard", [[], ["M"], "M OW B OY HH UH JH G UW".split()])  # noqa: SIM905
def test_another_sentence_is_not(heard: list[str]) -> None:
    assert text_found(heard, TURN) == 0.0


@given(SEVERAL, SEVERAL)
def test_it_is_a_share(heard: list[str], expected: list[str]) -> None:
    assert 0.0 <= text_found(heard, expected) <= 1.0


def test_a_single_word_is_not_judged() -> None:
    assert text_found("F IH SH".split(), "S N OW".split()) == 1.0  # noqa: SIM905
