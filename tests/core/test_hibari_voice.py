"""The built-in voice: says any phonemes, the same each time, at any pace."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from app.core.errors import ModelError
from app.core.hibari_voice import HibariVoice, written
from app.core.lexicon import Lexicon
from app.core.phrasing import MAX_PHRASE_PHONEMES, phrases_of_phonemes, phrases_of_text
from app.core.pronunciation import parse_pronunciation
from app.core.voice import Phrase, PhraseWord, load_voice

SENTENCE = "Please turn right at the next corner."


@pytest.fixture(scope="module")
def voice() -> HibariVoice:
    return HibariVoice()


@pytest.fixture(scope="module")
def sentence() -> Phrase:
    return phrases_of_text(SENTENCE, Lexicon().words(SENTENCE))[0]


def bare(symbols: str) -> Phrase:
    return phrases_of_phonemes(parse_pronunciation(symbols.split()))[0]


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ("HH AH0 L OW1", "həlˈO."),
        ("S T R EH1 NG K TH S", "stɹˈɛŋkθs."),
        ("CH ER1 CH", "ʧˈɜɹʧ."),
        ("T IY1 CH ER0", "tˈiʧəɹ."),
        ("JH OY1 F AH0 L", "ʤˈYfəl."),
        ("AH1 N D ER0 S T AE2 N D", "ˈʌndəɹstˌænd."),
        ("HH ER1 R IY0", "hˈɜɹi."),
        ("M EH1 ZH ER0", "mˈɛʒəɹ."),
        ("DH AW1 Y UH1 W AA1 G", "ðˈWjˈʊwˈɑɡ."),
    ],
)
def test_words_are_written_as_the_voice_learnt_them(symbols: str, expected: str) -> None:
    assert written(bare(symbols)) == expected


def test_words_are_written_apart_with_their_pauses() -> None:
    phrase = (PhraseWord("a", ("AH",), (0,), ","), PhraseWord("bee", ("B", "IY"), (None, None), "?"))
    assert written(phrase) == "ə, bi?"


def test_it_is_the_voice_that_serves_unless_another_is_set() -> None:
    voice = load_voice(None)
    assert isinstance(voice, HibariVoice)
    assert voice.name == "hibari-heart"
    assert voice.speaks_phonemes


def test_a_phrase_sounds_the_same_each_time(voice: HibariVoice, sentence: Phrase) -> None:
    first = voice.speak(sentence, 1.0)
    voice.speak(bare("S"), 0.7)
    assert np.array_equal(first, voice.speak(sentence, 1.0))
    assert np.array_equal(first, HibariVoice().speak(sentence, 1.0))


def test_it_is_about_as_loud_as_a_recording(voice: HibariVoice, sentence: Phrase) -> None:
    samples = voice.speak(sentence, 1.0)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.2 < np.abs(samples).max() <= 1
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.3
    assert 1.5 < len(samples) / voice.sample_rate < 4


def test_speed_is_the_pace(voice: HibariVoice, sentence: Phrase) -> None:
    slow, normal, fast = (len(voice.speak(sentence, speed)) for speed in (0.5, 1.0, 2.0))
    assert slow / normal == pytest.approx(2, rel=0.15)
    assert fast / normal == pytest.approx(0.5, rel=0.15)


def test_other_phonemes_sound_otherwise(voice: HibariVoice) -> None:
    spoken = [voice.speak(bare(symbols), 1.0) for symbols in ("SH IH1 P", "SH IY1 P", "SH IH1 B")]
    for one, other in ((0, 1), (0, 2)):
        length = min(len(spoken[one]), len(spoken[other]))
        assert np.abs(spoken[one][:length] - spoken[other][:length]).max() > 0.05


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "symbols",
    ["S", "P", "AA1", "AH0", "S " * MAX_PHRASE_PHONEMES, "T AO1 " * (MAX_PHRASE_PHONEMES // 2), "ER R " * 10],
)
def test_nothing_is_too_short_or_too_long_for_it(voice: HibariVoice, symbols: str, speed: float) -> None:
    samples = voice.speak(bare(symbols), speed)
    assert len(samples) > 0.1 * voice.sample_rate
    assert np.isfinite(samples).all()
    assert 0.003 < np.abs(samples).max() <= 1


def test_without_its_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="hibari-tts"):
        HibariVoice()


@pytest.mark.parametrize("vocabulary", [None, "no json", "{}"])
def test_files_that_cannot_be_read_are_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, vocabulary: str | None
) -> None:
    (tmp_path / "assets").mkdir()
    if vocabulary is not None:
        (tmp_path / "assets" / "vocab.json").write_text(vocabulary)
    (tmp_path / "assets" / "hibari.onnx").write_bytes(b"no model")
    broken = ModuleSpec("hibari", None, is_package=True)
    broken.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: broken)
    with pytest.raises(ModelError, match="cannot be loaded"):
        HibariVoice()
