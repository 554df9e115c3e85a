"""One spoken word -> its pronunciations: dictionary, forms derived from it, letters spelled out, trained model."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from app.core.cmudict import CmuDict
from app.core.grapheme_to_phoneme import GraphemeToPhoneme
from app.core.phonemes import VOWELS
from app.core.pronunciation import Pronunciation, join, parse_pronunciation

CACHED_WORDS = 2048
LONGEST_INITIALISM = 5
SPELLED_FIRST = 3
"""Unknown words of capitals up to this long are likelier letters (XUV) than a word (COVID)."""
LIKELIER_SPELLED = frozenset(("us",))
"""Words of the dictionary that are no word where they stand in capitals."""

VOWEL_LETTERS = frozenset("aeiou")
SIBILANTS = frozenset(("S", "Z", "SH", "ZH", "CH", "JH"))
VOICELESS = frozenset(("P", "T", "K", "F", "TH", "S", "SH", "CH"))
SUFFIXES = {"ly": "L IY0", "ness": "N AH0 S", "less": "L AH0 S"}


class WordPronouncer:
    """Knows how single words are said; safe to share between threads."""

    def __init__(self) -> None:
        self._dictionary = CmuDict()
        self._model = GraphemeToPhoneme()
        self._cached = lru_cache(maxsize=CACHED_WORDS)(self._pronounce)

    def clear_cache(self) -> None:
        """Forget the words of earlier texts; they are worked out again when they come."""
        self._cached.cache_clear()

    def knows(self, word: str) -> bool:
        """Whether the dictionary itself has ``word``, in any case."""
        return word.lower() in self._dictionary

    def __call__(self, word: str, *, shouted: bool = False) -> tuple[tuple[Pronunciation, ...], bool]:
        """The pronunciations of one word, best first, and whether they come from the dictionary.

        Args:
            word: ASCII letters and apostrophes, in the case of the text; a letter with a full stop (``"f."``) is that
                letter's name.
            shouted: the whole text is in capitals, so that capitals do not hint at an initialism.

        Returns:
            the pronunciations (empty if the word has no sound) and True if the dictionary has the word or its base.
        """
        return self._cached(word, shouted)

    def _pronounce(self, word: str, shouted: bool) -> tuple[tuple[Pronunciation, ...], bool]:
        lower = word.lower()
        found = self._dictionary(lower) or self._dictionary(lower.strip("'")) or self._derived(lower)
        letters = [letter for letter in lower if letter.isalpha()]
        if not letters:
            return (), False
        capitals = word.isupper() and 2 <= len(letters) <= LONGEST_INITIALISM and word.isalpha()
        if found:
            spell = capitals and not shouted
            if spell and lower in LIKELIER_SPELLED:
                return _distinct((self._spelled(letters), *found)), True
            return _distinct((*found, self._spelled(letters)) if spell else found), True
        guess = self._model("".join(letters))
        if lower.endswith("'s") and len(letters) > 1 and (base := self._model("".join(letters[:-1]))):
            guess = base + _plural_ending(base)
        short = len(letters) <= LONGEST_INITIALISM
        if guess is None or (short and not set(letters) & VOWEL_LETTERS and (capitals or "y" not in letters)):
            return _distinct((self._spelled(letters), *([guess] if guess else []))), True
        if not capitals:
            return (guess,), False
        both = (self._spelled(letters), guess)
        spell_first = len(letters) <= SPELLED_FIRST and not shouted
        return _distinct(both if spell_first else both[::-1]), spell_first

    def _spelled(self, letters: Iterable[str]) -> Pronunciation:
        """The names of ``letters`` one after the other."""
        return join([self._dictionary(f"{letter}.")[0] for letter in letters])

    def _derived(self, word: str) -> tuple[Pronunciation, ...]:
        """Pronunciations of a regular form of a word that the dictionary has."""
        if word.endswith(("'s", "s'")):
            base = word[:-2] if word.endswith("'s") else word[:-1]
            known = self._dictionary(base) or self._derived(base)
            return tuple(p + _plural_ending(p) for p in known) if word.endswith("'s") else known
        if word.endswith("in'"):
            return tuple(
                Pronunciation((*p.phonemes[:-1], "N"), p.stresses)
                for p in self._dictionary(f"{word[:-1]}g")
                if p.phonemes[-1] == "NG"
            )
        for ending, bases in _inflections(word):
            for base in bases:
                if len(base) > 2 and (known := self._dictionary(base)):
                    return tuple(p + _ending(ending, p) for p in known)
        return ()


def _inflections(word: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    """The regular endings that ``word`` may have, each with the spellings that its base then may have."""
    if word.endswith("s") and not word.endswith("ss"):
        stem = word[:-1]
        bases = (stem, stem[:-1]) if stem.endswith("e") else (stem,)
        yield "s", (f"{word[:-3]}y", *bases) if word.endswith("ies") else bases
    for ending, length in (("ed", 2), ("ing", 3)):
        if word.endswith(ending):
            stem = word[:-length]
            doubled = (stem[:-1],) if len(stem) > 1 and stem[-1] == stem[-2] else ()
            past_of_y = (f"{stem[:-1]}y",) if ending == "ed" and stem.endswith("i") else ()
            yield ending, (*past_of_y, stem, f"{stem}e", *doubled)
    for suffix in SUFFIXES:
        if word.endswith(suffix):
            yield suffix, (word[: -len(suffix)],)


def _ending(ending: str, base: Pronunciation) -> Pronunciation:
    """The sound of a regular ``ending`` after ``base``."""
    last = base.phonemes[-1]
    if ending == "s":
        return _plural_ending(base)
    if ending == "ing":
        return parse_pronunciation(("IH0", "NG"))
    if ending == "ed":
        if last in {"T", "D"}:
            return parse_pronunciation(("IH0", "D"))
        return parse_pronunciation(("T",) if last in VOICELESS else ("D",))
    return parse_pronunciation(SUFFIXES[ending].split())


def _plural_ending(base: Pronunciation) -> Pronunciation:
    """The s of plurals and possessives: IH Z after a sibilant, S after a voiceless sound, else Z."""
    last = base.phonemes[-1]
    if last in SIBILANTS:
        return parse_pronunciation(("IH0", "Z"))
    return parse_pronunciation(("S",) if last in VOICELESS and last not in VOWELS else ("Z",))


def _distinct(pronunciations: Iterable[Pronunciation]) -> tuple[Pronunciation, ...]:
    """The pronunciations without those whose phonemes come a second time."""
    first: dict[tuple[str, ...], Pronunciation] = {}
    for pronunciation in pronunciations:
        first.setdefault(pronunciation.phonemes, pronunciation)
    return tuple(first.values())
