"""A phrase in the symbols of a VITS model: IPA where the model has it, letters otherwise.

``VitsTokenizer`` would have IPA written by espeak, whose licence (GPL) and dictionary are not ours, so the phonemes of
the phrase are written as espeak's en-us writes them: stress marks stand directly before the vowel (``"həlˈoʊ"``), long
vowels carry ``ː``, punctuation follows its word, words are one space apart. What espeak does beyond that is left out
where it would blur phonemes (the flap of *water* is a T here) or merely joins little words.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from app.core.errors import ModelError
from app.core.phonemes import PHONEMES, VOWELS
from app.core.voice import Phrase, PhraseWord

# How espeak's en-us writes each phoneme, then what other vocabularies have for it; AH, ER and IY depend on the stress
_SPELLINGS: dict[str, str] = {
    "AA": "ɑː ɑ ɒ", "AE": "æ", "AH": "ʌ ɐ ə", "AO": "ɔː ɔ", "AW": "aʊ aw au", "AY": "aɪ aj ai", "B": "b", "CH": "tʃ ʧ",
    "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɜː ɝ ɜ ɚ əɹ ər", "EY": "eɪ ej ei", "F": "f", "G": "ɡ g", "HH": "h",
    "IH": "ɪ", "IY": "iː i", "JH": "dʒ ʤ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ əʊ ow ou",
    "OY": "ɔɪ oɪ ɔj oj", "P": "p", "R": "ɹ r", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "UH": "ʊ", "UW": "uː u",
    "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_UNSTRESSED: dict[str, str] = {"AH": "ə ɐ ʌ", "ER": "ɚ əɹ ər ɝ ɜː ɜ", "IY": "i iː"}
_STRESS_MARKS = {1: "ˈ", 2: "ˌ"}
_PAUSES = {"—": "—,", ";": ";,", ":": ":,", "!": "!.", "?": "?."}  # what to write, the next best last
_JOINTS = frozenset("-–—‐‑/_")  # between the parts of a word: a space where the vocabulary lacks them

_FEW_MISSING = 10
"""A vocabulary that lacks fewer phonemes was meant to have them: letters alone lack 15."""
_FEWEST_LETTERS = 24


class VitsText:
    """Writes phrases in a vocabulary.

    Attributes:
        speaks_phonemes: whether the vocabulary has the phonemes of English; otherwise letters are written.

    Args:
        symbols: the vocabulary, symbol to id.
        tokenizer: the tokenizer's settings: ``add_blank``, ``phonemize``, ``is_uroman``, ``language``.

    Raises:
        ModelError: neither English phonemes nor English letters can be written; the text is the end of a sentence.
    """

    def __init__(self, symbols: Mapping[str, int], tokenizer: Mapping[str, Any]) -> None:
        # VitsTokenizer, too, goes by single characters; longer entries are special tokens
        self._ids = {symbol: index for symbol, index in symbols.items() if len(symbol) == 1}
        self._space = self._first((" ",))
        self._add_blank = bool(tokenizer.get("add_blank", True))
        self._spellings = {phoneme: self._first(_SPELLINGS[phoneme].split()) for phoneme in PHONEMES}
        self._unstressed = {phoneme: self._first(spelled.split()) for phoneme, spelled in _UNSTRESSED.items()}
        missing = [phoneme for phoneme, spelled in self._spellings.items() if not spelled]
        self.speaks_phonemes = not missing
        if not missing:
            return
        if tokenizer.get("phonemize") or len(missing) < _FEW_MISSING:
            raise ModelError(f"cannot write the phonemes of English: its vocabulary lacks {', '.join(missing)}")
        if tokenizer.get("is_uroman"):
            raise ModelError("reads a script other than ours (it wants uroman)")
        language = str(tokenizer.get("language") or "en")
        if not language.lower().startswith("en"):
            raise ModelError(f"reads the language {language!r}, not English")
        if sum(self._letter(letter) != "" for letter in string.ascii_lowercase) < _FEWEST_LETTERS:
            raise ModelError("has neither the phonemes nor the letters of English in its vocabulary")

    @classmethod
    def of_folder(cls, folder: Path, symbols: int) -> VitsText:
        """For the model in a folder in Hugging Face layout.

        Args:
            folder: with ``vocab.json`` and ``tokenizer_config.json``; without the latter, its defaults.
            symbols: how many the model knows; ids beyond are not used.

        Raises:
            ModelError: as the class does; or a file is no JSON object.
            OSError: there is no vocabulary.
            ValueError: a file is no JSON.
        """
        vocabulary = _json_object(folder / "vocab.json")
        settings = folder / "tokenizer_config.json"
        known = {
            symbol: index for symbol, index in vocabulary.items() if isinstance(index, int) and index in range(symbols)
        }
        return cls(known, _json_object(settings) if settings.is_file() else {})

    def written(self, phrase: Phrase) -> str:
        """A phrase in characters of the vocabulary, such as ``"həlˈoʊ ðˈɛɹ."`` or ``"hello there."``.

        Empty where nothing of it can be said.

        Raises:
            ValueError: letters are to be written and a word has no text.
        """
        write = self._phonemes if self.speaks_phonemes else self._letters
        words = [(write(word), word.pause) for word in phrase]
        if not any(character.isalnum() for text, _ in words for character in text):
            return ""
        return self._space.join(f"{text}{self._pause(pause)}" for text, pause in words if text)

    def ids(self, text: str) -> list[int]:
        """The ids of what :meth:`written` gives; with ``add_blank``, id 0 before, between and after."""
        ids = [self._ids[character] for character in text]
        if not self._add_blank:
            return ids
        spread = [0] * (2 * len(ids) + 1)
        spread[1::2] = ids
        return spread

    def _phonemes(self, word: PhraseWord) -> str:
        parts: list[str] = []
        rhotic = self._spellings["R"]
        following = (*word.phonemes[1:], "")
        for phoneme, stress, after in zip(word.phonemes, word.stresses, following, strict=True):
            unstressed = self._unstressed.get(phoneme) if stress == 0 else None
            spelled = unstressed or self._spellings[phoneme]
            if phoneme == "ER" and after in VOWELS and not spelled.endswith(rhotic):
                spelled += rhotic  # espeak's "ˈɛvɚɹi"
            mark = self._first(_STRESS_MARKS.get(stress or 0, "")) if phoneme in VOWELS else ""
            parts.append(mark + spelled)
        return re.sub(f"{rhotic}{rhotic}+", rhotic, "".join(parts))  # ER before R, as in "hurry", is one R

    def _letters(self, word: PhraseWord) -> str:
        if word.text is None:
            raise ValueError("a word without a text cannot be read")
        text = unicodedata.normalize("NFC", word.text).replace("’", "'")
        return re.sub(" +", " ", "".join(map(self._letter, text))).strip()

    def _letter(self, character: str) -> str:
        """The character as the vocabulary has it: in its own or the other case, or without its accent."""
        bare = unicodedata.normalize("NFKD", character)[0]
        for candidate in (character, character.lower(), character.upper(), bare, bare.lower(), bare.upper()):
            if candidate in self._ids:
                return candidate
        return self._space if character in _JOINTS or character.isspace() else ""

    def _pause(self, mark: str) -> str:
        return self._first(_PAUSES.get(mark, mark))

    def _first(self, candidates: Iterable[str]) -> str:
        """The first of the candidates that the vocabulary can write, or nothing."""
        return next((each for each in candidates if all(character in self._ids for character in each)), "")


def _json_object(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ModelError(f"has a {path.name} that is no JSON object")
    return content
