from __future__ import annotations

import pytest

from app.core.grapheme_to_phoneme import MISAKI_TO_ARPABET, GraphemeToPhoneme, misaki_to_pronunciation
from app.core.phonemes import PHONEMES, VOWELS
from app.core.pronunciation import parse_pronunciation


@pytest.fixture(scope="module")
def model() -> GraphemeToPhoneme:
    return GraphemeToPhoneme()


def test_every_symbol_has_a_phoneme_and_every_phoneme_a_symbol() -> None:
    assert set(MISAKI_TO_ARPABET.values()) == set(PHONEMES)


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("ɪmˈOʤi", "IH0 M OW1 JH IY0"),
        ("bˈɜɹd", "B ER1 D"),
        ("wˈɔTəɹ", "W AO1 T ER0"),
        ("ʧˌISˈʊɹ", "CH AY2 UH1 R"),
        ("mjˌʊɹɹəkˈɑmi", "M Y UH2 R AH0 K AA1 M IY0"),
        ("vəlˈOsəɹɹˌæptəɹ", "V AH0 L OW1 S ER0 AE2 P T ER0"),
        ("ɡlˈutn", "G L UW1 T AH0 N"),
        ("ˈkæt", "K AE1 T"),
        ("θˈɪŋ-(ðˈɪs)", "TH IH1 NG DH IH1 S"),
    ],
)
def test_symbols_become_arpabet(characters: str, expected: str) -> None:
    assert misaki_to_pronunciation(characters) == parse_pronunciation(expected.split())


@pytest.mark.parametrize("characters", ["", "ˈ", "-() "])
def test_no_sound_gives_no_pronunciation(characters: str) -> None:
    assert misaki_to_pronunciation(characters) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("emoji", "IH0 M OW1 JH IY0"),
        ("blockchain", "B L AA1 K CH EY0 N"),
        ("glamping", "G L AE1 M P IH0 NG"),
    ],
)
def test_unknown_words_are_read(model: GraphemeToPhoneme, word: str, expected: str) -> None:
    assert model(word) == parse_pronunciation(expected.split())


def test_a_very_long_word_is_read_to_its_end(model: GraphemeToPhoneme) -> None:
    pronunciation = model("bananarama" * 10)
    assert pronunciation is not None
    assert len(pronunciation.phonemes) > 60
    assert all(
        (stress is not None) == (phoneme in VOWELS)
        for phoneme, stress in zip(pronunciation.phonemes, pronunciation.stresses, strict=True)
    )


def test_letters_that_are_none_have_no_pronunciation(model: GraphemeToPhoneme) -> None:
    assert model("你好") is None
    assert model("") is None
