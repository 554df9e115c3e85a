"""What was said where a word should have been: the best reading of its stretch of the recording.

The free decode of a short stretch drops whatever is a little less probable than blank, and the most probable phoneme of
each segment knows neither omissions nor additions. So the reading is found as in a noisy channel: the word's own
phonemes, each of which may have been replaced or left out, with others put in between; every such change costs a
fixed log-probability, and Viterbi's algorithm finds the sequence for which the CTC posteriors and the costs together
are best. Of mispronounced words that a voice spoke it reads more exactly than the free decode does, and makes less than
half as many wrong changes, but misses some more of the right ones (``training.tune_reading``, which also compares the
costs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.word_graph import BLANK_ID

MAX_CELLS = 60_000
"""Frames times phonemes beyond which nothing is searched: 20 MB of path. No word that is said takes as many."""

_NEVER = -1e30


@dataclass(frozen=True, slots=True)
class ChangeCosts:
    """What a change of the pronunciation costs, as a log-probability."""

    replaced: float = 3.0
    left_out: float = 4.0
    put_in: float = 2.0


def best_reading(
    log_probs: NDArray[np.float32], expected: Sequence[int], costs: ChangeCosts | None = None
) -> list[int] | None:
    """The classes that were most probably said.

    Args:
        log_probs: ``(T, C)`` log-posteriors of the word's stretch, class 0 the blank; T may be 0.
        expected: classes 1..C-1 that the word should have, one or more.
        costs: of changes.

    Returns:
        Classes 1..C-1, none where nothing was said; None where the stretch is too long to be one word.
    """
    if len(log_probs) * (len(expected) + 1) > MAX_CELLS:
        return None
    search = _Search(log_probs, expected, costs or ChangeCosts())
    for frame in range(len(log_probs)):
        search.step(frame)
    return search.path()


class _Search:
    """Viterbi over states that say how many of the expected phonemes are behind, and what sounds now.

    For each number 0..n of phonemes that are behind there is a state of blank, one for each class that the last of them
    may sound as, and one for each class that may have been put in after it. States are numbered in that order.
    """

    def __init__(self, log_probs: NDArray[np.float32], expected: Sequence[int], costs: ChangeCosts) -> None:
        self._log_probs = log_probs.astype(np.float64)
        self._costs = costs
        places, classes = len(expected) + 1, log_probs.shape[1] - 1
        self._replacing = np.full((places, classes), costs.replaced)
        self._replacing[np.arange(1, places), np.asarray(expected) - 1] = 0.0
        self._blank = np.full(places, _NEVER)
        self._blank[0] = 0.0
        self._said, self._put_in = (np.full((places, classes), _NEVER) for _ in range(2))
        self._rows, self._columns = np.arange(places), np.arange(classes)
        cells = np.arange(places * classes).reshape(places, classes)
        self._blank_ids, self._said_ids, self._put_in_ids = self._rows, places + cells, places + cells.size + cells
        self._classes = classes
        self._back = np.empty((len(log_probs), places * (1 + 2 * classes)), np.int32)

    def step(self, frame: int) -> None:
        """Take one frame more."""
        blank, sounds = self._log_probs[frame, BLANK_ID], np.delete(self._log_probs[frame], BLANK_ID)
        best, best_ids, entry, entry_ids = self._ways_on()
        stay = self._blank >= best
        said = np.full_like(self._said, _NEVER)
        said[1:] = entry[:-1] - self._replacing[1:]
        said_ids = np.vstack((entry_ids[:1], entry_ids[:-1]))
        put_in = entry - self._costs.put_in
        said_on, put_in_on = self._said >= said, self._put_in >= put_in
        back = (
            np.where(stay, self._blank_ids, best_ids),
            np.where(said_on, self._said_ids, said_ids).ravel(),
            np.where(put_in_on, self._put_in_ids, entry_ids).ravel(),
        )
        np.concatenate(back, out=self._back[frame], casting="same_kind")
        self._blank = np.where(stay, self._blank, best) + blank
        self._said = np.where(said_on, self._said, said) + sounds
        self._put_in = np.where(put_in_on, self._put_in, put_in) + sounds

    def path(self) -> list[int]:
        """The classes on the best path."""
        behind = len(self._rows) - 1 - self._rows
        missing = self._costs.left_out * behind
        scores = np.concatenate(
            (
                self._blank - missing,
                (self._said - missing[:, None]).ravel(),
                (self._put_in - missing[:, None]).ravel(),
            )
        )
        state = int(scores.argmax())
        said: list[int] = []
        for frame in range(len(self._log_probs) - 1, -1, -1):
            before = int(self._back[frame, state])
            if state >= len(self._rows) and before != state:
                said.append((state - len(self._rows)) % self._classes + 1)
            state = before
        return said[::-1]

    def _ways_on(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """For each place the best sounding state, and for each class the best state from which it may begin.

        A class cannot follow itself without a blank: then the second best sounding state counts.
        """
        rows = self._rows
        last = self._put_in > self._said
        sounding = np.where(last, self._put_in, self._said)
        ids = np.where(last, self._put_in_ids, self._said_ids)
        first = sounding.argmax(axis=1)
        best, best_ids = sounding[rows, first], ids[rows, first]
        sounding[rows, first] = _NEVER
        second = sounding.argmax(axis=1)
        same = self._columns == first[:, None]
        entry = np.where(same, sounding[rows, second][:, None], best[:, None])
        entry_ids = np.where(same, ids[rows, second][:, None], best_ids[:, None])
        from_blank = self._blank[:, None] >= entry
        entry = np.where(from_blank, self._blank[:, None], entry)
        entry_ids = np.where(from_blank, self._blank_ids[:, None], entry_ids)
        for place in rows[1:]:  # phonemes that are left out
            skipping = entry[place - 1] - self._costs.left_out
            better = skipping > entry[place]
            entry[place] = np.where(better, skipping, entry[place])
            entry_ids[place] = np.where(better, entry_ids[place - 1], entry_ids[place])
        return best, best_ids, entry, entry_ids
