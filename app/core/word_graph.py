"""The graph of a text's words and their candidate pronunciations, as arrays: what ``alignment`` searches."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from app.core.errors import InvalidInput

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]
Bits = NDArray[np.bool_]

BLANK_ID = 0
MAX_STATES = 40_000
"""States of a text's graph. Reading aloud reaches 20 phonemes a second, 2,400 in the longest recording; a phoneme takes
two states, in each of up to eight readings. A thousand ordinary words have about 16,000 in all."""
FROM_BLANK, FROM_FILLER, FROM_CANDIDATE = range(3)


@dataclass(frozen=True, slots=True)
class Penalties:
    """What the path pays, in nats, for leaving the text. Chosen by ``training/tune_alignment.py``.

    Attributes:
        skip_word: for leaving out a word, however long.
        skip_phoneme: for each phoneme of a word left out (of its shortest pronunciation).
        enter_filler: for each stretch of speech that the text does not have.
        filler_frame: for each frame of such a stretch in which a phoneme is heard.
    """

    skip_word: float = 8.0
    skip_phoneme: float = 5.0
    enter_filler: float = 2.0
    filler_frame: float = 0.3


def count_states(words: Sequence[Sequence[Sized]], kept: int) -> int:
    """The states of the graph of the first ``kept`` candidates of each word."""
    return sum(2 * len(c) - 1 for candidates in words for c in candidates[:kept]) + 2 * (len(words) + 1)


def candidates_that_fit(words: Sequence[Sequence[Sized]]) -> int:
    """How many candidates of each word, the first ones, have ``MAX_STATES`` states together.

    Raises:
        InvalidInput: not even one of each.
    """
    most = max(map(len, words), default=0)
    kept = next((k for k in range(most, 0, -1) if count_states(words, k) <= MAX_STATES), 0)
    if words and not kept:
        raise InvalidInput("The text takes longer to say than any recording may last.", field="text")
    return kept


def source_type(candidates: int) -> np.dtype[np.unsignedinteger]:
    """The smallest type that says from which of so many candidates, or else, a junction is reached."""
    return np.dtype(np.uint8 if candidates + FROM_CANDIDATE <= 256 else np.uint16)


class WordGraph:
    """The word graph as arrays over its emitting states: pronunciations' states first, then blanks, then fillers.

    A pronunciation of n phonemes has 2n - 1 states, with an optional blank between neighbours.
    """

    def __init__(self, words: Sequence[Sequence[Sequence[int]]], penalties: Penalties) -> None:
        self.widest = candidates_that_fit(words)
        chains = [phonemes for candidates in words for phonemes in candidates[: self.widest]]
        lengths = np.fromiter(map(len, chains), np.intp, len(chains))
        self.word_count, self.chain_count = len(words), int(np.sum(2 * lengths - 1))
        junctions = self.word_count + 1
        self.blanks = slice(self.chain_count, self.chain_count + junctions)
        self.fillers = slice(self.blanks.stop, self.blanks.stop + junctions)
        self.state_count = self.fillers.stop
        counts = np.fromiter((min(len(c), self.widest) for c in words), np.intp, len(words))
        self.word_of = np.repeat(np.arange(self.word_count), counts)  # these three for each chain of states
        self.candidate_of = np.arange(len(chains)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.starts: Ints = np.cumsum(2 * lengths - 1) - (2 * lengths - 1)
        phonemes = np.fromiter(chain.from_iterable(chains), np.intp, int(lengths.sum()))
        at = 2 * np.arange(len(phonemes)) - np.repeat(np.arange(len(chains)), lengths)  # their states
        self.labels = np.full(self.chain_count, BLANK_ID, dtype=np.intp)
        self.labels[at] = phonemes
        self.follow_cost = np.zeros(self.chain_count, dtype=np.float32)  # of coming from the state before: 0 or inf
        self.follow_cost[self.starts] = np.inf
        self.over_cost = np.full(self.chain_count, np.inf, dtype=np.float32)  # from two before, over a blank
        self.over_cost[at[1:][phonemes[1:] != phonemes[:-1]]] = 0.0
        self.over_cost[self.starts] = np.inf
        self.ends = np.full((self.word_count, self.widest), self.state_count, dtype=np.intp)  # padded: a state never in
        self.ends[self.word_of, self.candidate_of] = self.starts + 2 * lengths - 2
        skips = [penalties.skip_word + penalties.skip_phoneme * min(map(len, c[: self.widest])) for c in words]
        self.skip_costs = np.concatenate([[0.0], np.cumsum(skips)]).astype(np.float32)
        self.enter_filler = np.float32(penalties.enter_filler)
        self.filler_frame = penalties.filler_frame

    def chain_at(self, state: int) -> int:
        """The chain of states, one for each candidate of each word, that a state of a pronunciation is in."""
        return int(self.starts.searchsorted(state, side="right")) - 1

    def reach_junctions(self, scores: Floats, sources: NDArray[np.unsignedinteger], reached: Bits) -> Floats:
        """The best score at each junction after a frame with these state scores.

        Args:
            scores: of all states, and after them that of the state that is never in.
            sources: is filled: from what each junction is reached without a skip.
            reached: is filled: false where it is better reached by leaving out the words before it.
        """
        best = scores[self.blanks].copy()
        filler = scores[self.fillers]
        sources[:] = filler > best
        np.maximum(best, filler, out=best)
        if self.word_count:
            ended = scores.take(self.ends)
            choice = ended.argmax(axis=1)
            highest = ended.max(axis=1)
            np.copyto(sources[1:], choice + FROM_CANDIDATE, where=highest > best[1:], casting="unsafe")
            np.maximum(best[1:], highest, out=best[1:])
        level = best + self.skip_costs
        highest = np.maximum.accumulate(level)
        np.greater_equal(level, highest, out=reached)
        return highest - self.skip_costs
