"""What a voice is to say: words of a text, or bare phonemes, as phrases with pauses, weak forms and stresses.

The phonemes are the lexicon's, so that what is spoken and what is scored agree. Of a word with several pronunciations
the first is said. The little words that fluent speakers pass over have a secondary stress instead of the primary one
(without any, the voice slurs them), and "a", "an", "the" and "to" are said in their weak forms where the lexicon has
these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from app.core.lexicon import LexiconWord
from app.core.phonemes import VOWELS
from app.core.pronunciation import Pronunciation
from app.core.tokens import is_word
from app.core.voice import PAUSES, Phrase, PhraseWord

MAX_PHRASE_PHONEMES = 100
"""Phonemes that a voice says in one go, about 8 s: its memory grows with them."""

MAX_PHRASE_SECONDS = 14.0
"""How long a phrase may take by :func:`phrase_seconds`, unless it is one word. No sentence gets there; words of one
vowel with a pause after each would make four times as much of so many phonemes."""

SECONDS_PER_PHRASE = 0.6
SECONDS_PER_WORD = 0.025
SECONDS_PER_PAUSE = 0.17
SECONDS_PER_CONSONANT = 0.075
SECONDS_PER_VOWEL = 0.13
SECONDS_PER_STRESSED_VOWEL = 0.175
"""An upper line over how long the built-in voice takes at speed 1, whatever it is given: 1.4 times what a sentence
takes, and just what the worst does. Between the speeds it rounds up: a tenth more, of what nobody says."""
SECONDS_PER_LETTER = 0.04
"""For a voice that reads letters: counts where it is more than the above, as a request may give a long number a single
phoneme."""

_FINAL = (".", "!", "?")
_MARKS = {"…": ".", "–": "—", "-": "—", "。": ".", "！": "!", "？": "?", "，": ",", "、": ",", "；": ";", "：": ":"}
_WEAK_FORMS = {"a": ("AH",), "an": ("AH", "N"), "the": ("DH", "AH"), "to": ("T", "AH")}
_BEFORE_VOWEL = {"the": ("DH", "IY"), "to": ("T", "UW")}
_PRONOUNS = frozenset((
    "he", "her", "him", "his", "i", "it", "its", "me", "my", "our", "she", "their", "them", "they", "us",
    "we", "you", "your",
))  # fmt: skip
_LESS_STRESSED = _PRONOUNS | frozenset((
    "a", "am", "an", "and", "are", "as", "at", "be", "but", "by", "can", "could", "did", "do", "does", "for",
    "from", "had", "has", "have", "i'd", "i'll", "i'm", "i've", "if", "in", "is", "must", "of", "on", "or",
    "should", "than", "that", "the", "this", "to", "was", "were", "will", "with", "would",
))  # fmt: skip
"""Said with less stress: pronouns always, the others unless a pause follows."""


def phrases_of_text(text: str, words: Sequence[LexiconWord]) -> list[Phrase]:
    """Cut a text into phrases.

    Args:
        text: as written; its punctuation makes the pauses.
        words: what the lexicon says of it.

    Returns:
        One phrase or more for each sentence, none longer than ``MAX_PHRASE_PHONEMES``.
    """
    pauses = _pauses(text, words)
    if len(words) == 1:  # said by itself, even "the" is no little word
        return list(_cut(_phrase_words(words[0], "", pauses[0], alone=True)))
    following = [*(word.pronunciations[0].phonemes[0] for word in words[1:]), ""]
    spoken = (_phrase_words(*each) for each in zip(words, following, pauses, strict=True))
    return list(_cut(chain.from_iterable(spoken)))


def phrases_of_phonemes(pronunciation: Pronunciation) -> list[Phrase]:
    """Cut phonemes into phrases: one, unless they are more than ``MAX_PHRASE_PHONEMES``.

    Where no vowel has a stress digit, the first full one is stressed.
    """
    return list(_cut([_bare_word(None, pronunciation, ".")]))


def seconds_of(phrases: Sequence[Phrase], speed: float) -> float:
    """How long phrases take to say, at most, in seconds."""
    return sum(map(phrase_seconds, phrases)) / speed


def phrase_seconds(phrase: Phrase) -> float:
    """How long one phrase takes to say at speed 1, at most, in seconds."""
    return SECONDS_PER_PHRASE + sum(map(_word_seconds, phrase))


def _word_seconds(word: PhraseWord) -> float:
    seconds = SECONDS_PER_WORD + (SECONDS_PER_PAUSE if word.pause else 0.0)
    for phoneme, stress in zip(word.phonemes, word.stresses, strict=True):
        if phoneme in VOWELS:
            seconds += SECONDS_PER_STRESSED_VOWEL if stress else SECONDS_PER_VOWEL
        if phoneme not in VOWELS or phoneme == "ER":  # which is a vowel and an R
            seconds += SECONDS_PER_CONSONANT
    return max(seconds, SECONDS_PER_LETTER * len(word.text or ""))


def _pauses(text: str, words: Sequence[LexiconWord]) -> list[str]:
    """The punctuation after each word; the last one always ends a sentence."""
    pauses: list[str] = []
    for token in text.split():
        if is_word(token):
            written = words[len(pauses)].text
            pauses.append(_strongest(token.rpartition(written)[2] if written in token else ""))
        elif pauses:
            pauses[-1] = max(pauses[-1], _strongest(token), key=PAUSES.index)
    if pauses[-1] not in _FINAL:
        pauses[-1] = "."
    return pauses


def _strongest(tail: str) -> str:
    marks = [_MARKS.get(character, character) for character in tail]
    return max((mark for mark in marks if mark in PAUSES), key=PAUSES.index, default="")


def _phrase_words(word: LexiconWord, following: str, pause: str, *, alone: bool = False) -> Iterator[PhraseWord]:
    """What is said for one word of the text: several words for a number or an abbreviation."""
    best = word.pronunciations[0]
    parts = word.parts or ((word.text, len(best.phonemes)),)
    if word.source == "request":
        yield _bare_word(parts[0][0], best, pause)
        return
    if len(parts) == 1:
        best = _weak_form(word, following) if not pause else best
    start = 0
    for text, length in parts:
        end = start + length if len(parts) > 1 else len(best.phonemes)
        stresses = best.stresses[start:end]
        spelled = len(parts) > 1 and len(text) == 1  # the A of "USA"
        if text.lower() in (_PRONOUNS if pause else _LESS_STRESSED) and not (spelled or alone):
            stresses = tuple(2 if stress == 1 else stress for stress in stresses)
        yield PhraseWord(text, best.phonemes[start:end], stresses, pause if end == len(best.phonemes) else "")
        start = end


def _weak_form(word: LexiconWord, following: str) -> Pronunciation:
    """The pronunciation of a word that depends on the sound ``following`` it, as far as the lexicon has that."""
    name = word.text.lower()
    weak = (_BEFORE_VOWEL if following in VOWELS else _WEAK_FORMS).get(name) or _WEAK_FORMS.get(name)
    return next((said for said in word.pronunciations if said.phonemes == weak), word.pronunciations[0])


def _bare_word(text: str | None, said: Pronunciation, pause: str) -> PhraseWord:
    """A word that is said exactly as given, with a stress found for it where it has none."""
    stresses = said.stresses
    vowels = [place for place, phoneme in enumerate(said.phonemes) if phoneme in VOWELS]
    if vowels and all(stresses[place] is None for place in vowels):
        full = next((place for place in vowels if said.phonemes[place] not in ("AH", "ER")), vowels[0])
        stresses = tuple((1 if place == full else 0) if place in vowels else None for place in range(len(stresses)))
    return PhraseWord(text, said.phonemes, stresses, pause)


def _cut(words: Iterable[PhraseWord]) -> Iterator[Phrase]:
    phrase: list[PhraseWord] = []
    phonemes, seconds = 0, 0.0
    for word in _short_words(words):
        more, longer = len(word.phonemes), _word_seconds(word)
        while phrase and (phonemes + more > MAX_PHRASE_PHONEMES or seconds + longer > MAX_PHRASE_SECONDS):
            end = _best_end(phrase)
            yield tuple(phrase[:end])
            phrase = phrase[end:]
            phonemes, seconds = sum(len(w.phonemes) for w in phrase), sum(map(_word_seconds, phrase))
        phrase.append(word)
        phonemes, seconds = phonemes + more, seconds + longer
        if word.pause in _FINAL:
            yield tuple(phrase)
            phrase, phonemes, seconds = [], 0, 0.0
    if phrase:
        yield tuple(phrase)


def _best_end(phrase: Sequence[PhraseWord]) -> int:
    """Where to cut a phrase that has become too long: after its last pause in the second half, else at its end."""
    half = len(phrase) // 2
    pauses = [place for place, word in enumerate(phrase, start=1) if word.pause and place > half]
    return pauses[-1] if pauses else len(phrase)


def _short_words(words: Iterable[PhraseWord]) -> Iterator[PhraseWord]:
    """The words, those beyond all measure (a long number is one) in pieces."""
    for word in words:
        for start in range(0, len(word.phonemes), MAX_PHRASE_PHONEMES):
            end = start + MAX_PHRASE_PHONEMES
            whole = end >= len(word.phonemes)
            yield replace(
                word,
                text=word.text if start == 0 else "",
                phonemes=word.phonemes[start:end],
                stresses=word.stresses[start:end],
                pause=word.pause if whole else "",
            )
