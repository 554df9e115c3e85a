"""Recordings of what learners do to a text: words skipped, said twice, the end left out, somebody else talking.

Made of corpus recordings by cutting at silences between words and joining, with what was done to each.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app.core.alignment import AlignedWord
from app.core.lexicon import LexiconWord

Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000
LEAST_PHONEMES = 3
"""Words that are skipped or said twice have this many phonemes: nobody notices a lost "a"."""

_FRAME = SAMPLE_RATE // 50
_FADE = SAMPLE_RATE // 100  # at each cut, so that it does not click


@dataclass(frozen=True)
class Original:
    """A recording with its text and where its words are.

    Attributes:
        speaker: who reads.
        samples: ``(N,)`` at 16 kHz.
        words: of the text.
        cuts: ``(W + 1,)`` samples at which it can be cut, around each word.
    """

    speaker: str
    samples: Samples
    words: Sequence[LexiconWord]
    cuts: NDArray[np.int64]

    def between(self, first: int, last: int) -> Samples:
        """The samples of some words."""
        return self.samples[self.cuts[first] : self.cuts[last]]


@dataclass(frozen=True)
class Made:
    """A recording that differs from its text.

    Attributes:
        kind: what was done.
        samples: ``(N,)`` at 16 kHz.
        words: of the text that the speaker meant to read.
        skipped: words of it that are not in the recording.
        inserted: seconds of what is in the recording and not in the text, each as stretches one of which is too much.
    """

    kind: str
    samples: Samples
    words: Sequence[LexiconWord]
    skipped: frozenset[int] = frozenset()
    inserted: tuple[tuple[tuple[float, float], ...], ...] = field(default=())


def cuts_around(words: Sequence[AlignedWord | None], samples: int) -> NDArray[np.int64] | None:
    """Where a recording can be cut: half-way between neighbouring words; None where a word was not found."""
    if any(word is None for word in words):
        return None
    known = [word for word in words if word is not None]
    middles = [(a.ends[-1] + b.starts[0]) * _FRAME // 2 for a, b in pairwise(known)]
    return np.array([0, *middles, samples])


def make_all(originals: Sequence[Original], seed: int) -> Iterator[Made]:
    """One recording of each kind of each original where that can be made."""
    rng = random.Random(seed)
    for original in originals:
        yield Made("as it was", original.samples, original.words)
        for make in (skip_a_word, say_a_word_twice, stop_halfway):
            made = make(original, rng)
            if made is not None:
                yield made
        yield somebody_talks(original, originals, rng)
        yield another_sentence(original, originals)


def skip_a_word(original: Original, rng: random.Random) -> Made | None:
    """One word is cut out."""
    long = _long_words(original)
    if not long or len(original.words) < 3:
        return None
    at = rng.choice(long)
    samples = _join([original.between(0, at), original.between(at + 1, len(original.words))])
    return Made("word skipped", samples, original.words, frozenset([at]))


def say_a_word_twice(original: Original, rng: random.Random) -> Made | None:
    """One word comes twice."""
    long = _long_words(original)
    if not long:
        return None
    at = rng.choice(long)
    count = len(original.words)
    samples = _join([original.between(0, at + 1), original.between(at, count)])
    first, middle = original.cuts[at] / SAMPLE_RATE, original.cuts[at + 1] / SAMPLE_RATE
    twice = ((first, middle), (middle, 2 * middle - first))
    return Made("word twice", samples, original.words, inserted=(twice,))


def stop_halfway(original: Original, rng: random.Random) -> Made | None:
    """The recording ends after some words."""
    count = len(original.words)
    if count < 4:
        return None
    last = rng.randint(count // 2, count - 2)
    return Made("stopped halfway", original.between(0, last), original.words, frozenset(range(last, count)))


def somebody_talks(original: Original, others: Sequence[Original], rng: random.Random) -> Made:
    """Another speaker says two or three words before, in between, or after."""
    other = rng.choice([o for o in others if o.speaker != original.speaker and len(o.words) > 3])
    count = rng.choice((2, 3))
    first = rng.randrange(len(other.words) - count + 1)
    talk = other.between(first, first + count)
    at = rng.randint(0, len(original.words))
    samples = _join([original.between(0, at), talk, original.between(at, len(original.words))])
    start = float(original.cuts[at]) / SAMPLE_RATE if at else 0.0
    return Made("somebody talks", samples, original.words, inserted=(((start, start + len(talk) / SAMPLE_RATE),),))


def another_sentence(original: Original, others: Sequence[Original]) -> Made:
    """The text is another one, of like length, that shares no word with what was said."""
    own = {word.text.lower() for word in original.words}
    size = _phonemes(original.words)

    def distance(other: Original) -> tuple[bool, int]:
        return bool(own & {word.text.lower() for word in other.words}), abs(_phonemes(other.words) - size)

    return Made("another sentence", original.samples, min(others, key=distance).words)


def _phonemes(words: Sequence[LexiconWord]) -> int:
    return sum(len(word.pronunciations[0].phonemes) for word in words)


def _long_words(original: Original) -> list[int]:
    return [i for i, w in enumerate(original.words) if len(w.pronunciations[0].phonemes) >= LEAST_PHONEMES]


def _join(parts: Sequence[Samples]) -> Samples:
    """One after the other, each fading in and out."""
    faded = []
    for part in parts:
        size = min(_FADE, len(part) // 2)
        if not size:
            continue
        ramp = np.linspace(0, 1, size, dtype=np.float32)
        faded.append(np.concatenate([part[:size] * ramp, part[size:-size], part[-size:] * ramp[::-1]]))
    return np.concatenate(faded)
