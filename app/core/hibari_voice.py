"""The built-in voice: hibari-tts' "heart", American English, a woman's voice; 8 MB, no download.

Chosen by ``benchmarks.voices``: of the voices that come in a package it has the fewest words misheard and is nearest
to the phonemes that it was given, in a tenth of Piper's time. Its network runs in a session of ours, and its own
reading of text is not used: that costs 90 MB for dictionaries, and says words otherwise than the lexicon has them.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.errors import ModelError
from app.core.onnx_session import open_session
from app.core.phonemes import VOWELS
from app.core.voice import Phrase, PhraseWord

NAME = "hibari-heart"

# CMUdict's phonemes in misaki's characters, which the voice was trained on; AH and ER depend on the stress
_CHARACTERS: dict[str, str] = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʤ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ",
    "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_REDUCED = {"AH": "ə", "ER": "əɹ"}
_STRESS_MARKS = {1: "ˈ", 2: "ˌ"}

_GAIN = 1.8
"""The voice peaks at about 0.3, at most 0.5: raised to about the loudness of a recording, short of clipping."""
_SEED = 0  # of the breath in it, so that a phrase sounds the same each time


class HibariVoice:
    """Says phonemes; keeps nothing between calls. See :class:`app.core.voice.Voice`.

    Raises:
        ModelError: the package hibari-tts is not installed, or its files cannot be read.
    """

    name = NAME
    sample_rate = 24_000
    speaks_phonemes = True

    def __init__(self) -> None:
        specification = importlib.util.find_spec("hibari")
        if specification is None or not specification.submodule_search_locations:
            raise ModelError("The package hibari-tts, which is the built-in voice, is not installed.")
        assets = Path(specification.submodule_search_locations[0]) / "assets"
        try:
            self._ids: dict[str, int] = json.loads((assets / "vocab.json").read_text(encoding="utf-8"))
            self._session = open_session(assets / "hibari.onnx")
        except Exception as error:  # those of onnxruntime have no base of their own
            raise ModelError(f"The built-in voice cannot be loaded: {error}") from error

    def speak(self, phrase: Phrase, speed: float) -> NDArray[np.float32]:
        """See :meth:`app.core.voice.Voice.speak`."""
        from hibari import dsp

        ids = [0, *(self._ids[character] for character in written(phrase)), 0]
        inputs = {"ids": np.asarray([ids], np.int64), "speed": np.asarray([speed], np.float32)}
        outputs = [output[0] for output in self._session.run(None, inputs)]
        samples = dsp.synth(*outputs, np.random.default_rng(_SEED))
        del outputs
        dsp._ola_norm.cache_clear()  # it would keep an array for each of the last eight lengths
        samples *= np.float32(_GAIN)
        clipped: NDArray[np.float32] = np.clip(samples, -1.0, 1.0, out=samples)
        return clipped


def written(phrase: Phrase) -> str:
    """A phrase in misaki's characters, such as ``"həlˈO ðˈɛɹ."``: stress marks stand directly before the vowel."""
    return " ".join(f"{_word(word)}{word.pause}" for word in phrase)


def _word(word: PhraseWord) -> str:
    parts: list[str] = []
    for phoneme, stress in zip(word.phonemes, word.stresses, strict=True):
        character = _CHARACTERS[phoneme]
        if phoneme in VOWELS:
            if stress == 0:
                character = _REDUCED.get(phoneme, character)
            character = _STRESS_MARKS.get(stress or 0, "") + character
        parts.append(character)
    return re.sub("ɹɹ+", "ɹ", "".join(parts))  # ER before R, as in "hurry", is one R
