"""A pronunciation as data: phonemes with their stress, joining several, and reading one that a caller wrote."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.core.phonemes import CLASS_IDS, PHONEMES, VOWELS, split_stress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pronunciation:
    """One way to say a word.

    Attributes:
        phonemes: ARPAbet without stress digits, each one of ``app.core.phonemes.PHONEMES``; never empty.
        stresses: as long as ``phonemes``; 0, 1 or 2 on vowels where known, None on consonants.
    """

    phonemes: tuple[str, ...]
    stresses: tuple[int | None, ...]

    def __add__(self, other: Pronunciation) -> Pronunciation:
        return Pronunciation(self.phonemes + other.phonemes, self.stresses + other.stresses)


def parse_pronunciation(symbols: Iterable[str]) -> Pronunciation:
    """Read ARPAbet symbols, case-insensitive and with or without stress digit, e.g. ``["W", "iy0"]``.

    A stress digit on a consonant is dropped.

    Raises:
        ValueError: if there is no symbol, or one is no phoneme; its text names the offender.
    """
    pairs = [split_stress(symbol) for symbol in symbols]
    if not pairs:
        raise ValueError("it has no phoneme")
    for phoneme, stress in pairs:
        if phoneme not in CLASS_IDS or phoneme not in PHONEMES:
            shown = phoneme if stress is None else f"{phoneme}{stress}"
            raise ValueError(f"{shown[:16]!r} is not one of the {len(PHONEMES)} ARPAbet phonemes")
    return Pronunciation(
        tuple(phoneme for phoneme, _ in pairs),
        tuple(stress if phoneme in VOWELS else None for phoneme, stress in pairs),
    )


def join(parts: Sequence[Pronunciation]) -> Pronunciation:
    """Say ``parts`` one after the other, as one pronunciation."""
    return Pronunciation(
        tuple(phoneme for part in parts for phoneme in part.phonemes),
        tuple(stress for part in parts for stress in part.stresses),
    )


def best_products(choices: Sequence[Sequence[T]], limit: int) -> Iterator[tuple[int, tuple[T, ...]]]:
    """The ``limit`` best ways to pick one item of each of ``choices``, where every list has its best item first.

    Args:
        choices: lists to pick from; none is empty.
        limit: how many products to make at most, so that the work is bounded whatever the number of combinations.

    Yields:
        the sum of the picked items' ranks (0 is the best) and the picked items, by rising rank.
    """
    start = (0,) * len(choices)
    queue = [(0, start)]
    seen = {start}
    for _ in range(limit):
        if not queue:
            return
        rank, picks = heapq.heappop(queue)
        yield rank, tuple(choice[pick] for choice, pick in zip(choices, picks, strict=True))
        for place, pick in enumerate(picks):
            if len(seen) > 4 * limit:
                break
            following = (*picks[:place], pick + 1, *picks[place + 1 :])
            if pick + 1 < len(choices[place]) and following not in seen:
                seen.add(following)
                heapq.heappush(queue, (rank + 1, following))
