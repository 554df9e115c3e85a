"""Phrases are written as the model was trained to read them, or the vocabulary is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from app.core.errors import ModelError
from app.core.phonemes import PHONEMES, VOWELS
from app.core.pronunciation import parse_pronunciation
from app.core.vits_text import VitsText
from app.core.voice import PAUSES, Phrase, PhraseWord

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
VITS = '_;:,.!?¡¿—…"«»“” ' + ALPHABET.upper() + ALPHABET + "ɑɐɒæɔəɚɛɜɝɡɪŋɹʃʊʌʒðθɾᵻˈˌː"
"""Like that of vits-ljs and vits-vctk."""
MMS = "k'zyudhesw–3cp-1jmi fl0bra42n_xvtq56go"
"""Like that of mms-tts-eng: no punctuation, and id 0 is a letter."""


def text_of(symbols: str, **tokenizer: Any) -> VitsText:
    return VitsText({symbol: index for index, symbol in enumerate(symbols)}, tokenizer)


def word(text: str | None, phonemes: str, pause: str = "") -> PhraseWord:
    spoken = parse_pronunciation(phonemes.split())
    return PhraseWord(text, spoken.phonemes, spoken.stresses, pause)


def said(phonemes: str, symbols: str = VITS) -> str:
    return text_of(symbols).written((word(None, phonemes, "."),))


def read(text: str, symbols: str = MMS) -> str:
    return text_of(symbols).written((word(text, "AH0"),))


HELLO: Phrase = (word("Hello", "HH AH0 L OW1", ","), word("there", "DH EH1 R"), word("world", "W ER1 L D", "!"))


def test_phonemes_are_written_as_espeak_does() -> None:
    assert text_of(VITS, phonemize=True).speaks_phonemes
    assert text_of(VITS, phonemize=True).written(HELLO) == "həlˈoʊ, ðˈɛɹ wˈɜːld!"


@pytest.mark.parametrize(
    ("phonemes", "written"),
    [
        ("S T R EH1 NG K TH", "stɹˈɛŋkθ."),  # the mark stands before the vowel, not before the syllable
        ("HH AE1 P IY0", "hˈæpi."),
        ("AH0 N D ER0 S T AE2 N D", "əndɚstˌænd."),
        ("AH2 N D ER0 S T AE1 N D", "ˌʌndɚstˈænd."),
        ("W AO1 T ER0", "wˈɔːtɚ."),  # a T, where espeak has a flap
        ("EH1 V ER0 IY0", "ˈɛvɚɹi."),
        ("HH ER1 R IY0", "hˈɜːɹi."),
        ("CH AA1 R JH", "tʃˈɑːɹdʒ."),
        ("V IH1 ZH AH0 N", "vˈɪʒən."),
        ("G OW1 IH0 NG", "ɡˈoʊɪŋ."),
        ("UW", "uː."),  # no stress known: none written
        ("NG", "ŋ."),
    ],
)
def test_each_phoneme_and_stress_has_its_characters(phonemes: str, written: str) -> None:
    assert said(phonemes) == written


def test_every_phoneme_can_be_told_from_every_other() -> None:
    stresses = {phoneme: "1" if phoneme in VOWELS else "" for phoneme in PHONEMES}
    assert len({said(phoneme + stresses[phoneme]) for phoneme in PHONEMES}) == len(PHONEMES)


def test_a_vocabulary_without_marks_and_with_other_letters_is_written_with_what_it_has() -> None:
    bare = VITS.translate({ord(mark): None for mark in "ɑɝɜɚɡɹˈˌː,!"}) + "ɒʤʧ"
    assert text_of(bare).written(HELLO) == "həloʊ ðɛr wərld."
    assert said("G AA1 JH", bare) == "gɒdʒ."


def test_letters_are_read_without_what_the_vocabulary_lacks() -> None:
    text = text_of(MMS, phonemize=False, language="eng")
    assert not text.speaks_phonemes
    assert text.written(HELLO) == "hello there world"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("don’t", "don't"),
        ("CAFÉ", "cafe"),
        ("naïve", "naive"),
        ("twenty-one", "twenty-one"),
        ("and/or", "and or"),
        ("five  dollars", "five dollars"),
        ("a日b", "ab"),
    ],
)
def test_letters_are_those_of_the_text_as_far_as_there_are(text: str, written: str) -> None:
    assert read(text) == written


def test_case_and_punctuation_are_kept_where_the_vocabulary_has_them() -> None:
    both = ALPHABET + ALPHABET.upper() + " ,.!?;:—"
    assert text_of(both).written(HELLO) == "Hello, there world!"
    assert [text_of(both).written((word("so", "S OW1", pause),)) for pause in PAUSES] == [f"so{p}" for p in PAUSES]
    few = ALPHABET + ",."
    assert [text_of(few).written((word("so", "S OW1", pause),)) for pause in PAUSES] == (
        ["so", "so,", "so,", "so,", "so,", "so.", "so.", "so."]
    )


def test_a_capital_alphabet_is_read_in_capitals() -> None:
    assert read("hello", ALPHABET.upper()) == "HELLO"


@pytest.mark.parametrize("text", ["日本", "", "...", "'"])
def test_what_cannot_be_said_is_empty_and_leaves_the_rest(text: str) -> None:
    assert text_of(MMS).written((word(text, "AH0", "."),)) == ""
    assert (
        text_of(MMS).written((word("one", "W"), word(text if text != "'" else "", "AH0"), word("two", "T")))
        == "one two"
    )


def test_letters_without_a_text_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="without a text"):
        text_of(MMS).written((word(None, "AH0"),))


@pytest.mark.parametrize("add_blank", [True, False])
def test_ids_are_those_of_the_models_own_tokenizer(tmp_path: Path, add_blank: bool) -> None:
    vocabulary = {symbol: index for index, symbol in enumerate(VITS)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = transformers.VitsTokenizer(
        tmp_path / "vocab.json", pad_token="_", phonemize=False, normalize=False, add_blank=add_blank
    )
    text = VitsText(vocabulary, {"add_blank": add_blank})
    written = text.written(HELLO)
    assert text.ids(written) == tokenizer(written)["input_ids"]


def test_ids_that_the_model_does_not_know_are_not_used(tmp_path: Path) -> None:
    vocabulary = {symbol: index for index, symbol in enumerate(MMS + ",")}
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "<unk>": 99}), encoding="utf-8")
    assert VitsText.of_folder(tmp_path, len(MMS)).written(HELLO) == "hello there world"
    assert VitsText.of_folder(tmp_path, len(MMS) + 1).written(HELLO) == "hello, there world"


@pytest.mark.parametrize(
    ("symbols", "tokenizer", "reason"),
    [
        ("абвгдежзийклмнопрстуфхцчшщъыьэюя ", {}, "neither the phonemes nor the letters of English"),
        (MMS, {"is_uroman": True, "language": "kor"}, "uroman"),
        (MMS, {"language": "deu"}, "'deu', not English"),
        (MMS, {"phonemize": True}, "vocabulary lacks AA, AE, AH"),
        (VITS.replace("ʒ", "").replace("ð", ""), {}, "vocabulary lacks DH, JH, ZH"),
        ("", {}, "neither"),
    ],
)
def test_other_vocabularies_are_refused(symbols: str, tokenizer: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        text_of(symbols, **tokenizer)
