"""Whether a recording holds its text at all, or another sentence."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.pronunciation_scorer import SpokenText, chosen_pronunciation, seconds_of

NOTHING, ALL = 0.25, 0.45
"""Agreement at which nothing of a text counts as found, and all of it. Of 400 readings in the training corpus, by
learners of all levels, 1 % agree less than 0.40 with their text; of 400 set against another text 1 % agree more than
0.35. What it does to the scores is measured by ``benchmarks.corpus_over_http --mismatched``."""

SHORT, LONG = 6, 16
"""Phonemes of a text up to which nothing can be told, and from which all can: in a word, two that sound otherwise are
half of it."""


def text_found(heard: Sequence[str], expected: Sequence[str]) -> float:
    """How much of a text was found: 0 where another sentence was said, 1 for anybody who reads it.

    Aligned with a wrong text, each phoneme still gets the place that fits it best, and the goodness of pronunciation
    looks at nothing else. The free decode knows nothing of the text: so the two have to agree, at least as much as a
    poor reader's do.

    Args:
        heard: phonemes of the free decode, without those of insertions.
        expected: phonemes of the text.

    Returns:
        0 to 1, by the edit distance in proportion to the longer of the two; 1 for a text of a word or two.
    """
    from rapidfuzz.distance import Levenshtein

    agreement = Levenshtein.normalized_similarity(heard, expected)
    missing = 1.0 - min(1.0, max(0.0, (agreement - NOTHING) / (ALL - NOTHING)))
    return 1.0 - missing * min(1.0, max(0.0, (len(expected) - SHORT) / (LONG - SHORT)))


def text_found_in(spoken: SpokenText) -> float:
    """How much of the words that were found is in a recording, by its free decode without what was inserted."""
    insertions = [seconds_of(filler, spoken) for filler in spoken.alignment.fillers]
    heard = [
        h.phoneme for h in spoken.heard if not any(start <= (h.start + h.end) / 2 < end for start, end in insertions)
    ]
    pairs = zip(spoken.words, spoken.alignment.words, strict=True)
    said = [chosen_pronunciation(word, aligned) for word, aligned in pairs if aligned is not None]
    return text_found(heard, [phoneme for pronunciation in said for phoneme in pronunciation.phonemes])
