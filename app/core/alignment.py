"""CTC forced alignment of frame log-posteriors with a graph of words, as pure functions on arrays.

The graph is a line of junctions, one before the first word, one after each word. From a junction to the next leads
every candidate pronunciation of the word, and a skip, which makes the word an omission. At a junction the path may wait
in blank, or in a filler that takes any speech, which makes an insertion. The best path is found by Viterbi's
algorithm, one step a frame, each step on all states at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

BLANK_ID = 0
MAX_FRAMES_BEYOND_PEAK = 6
"""CTC says a phoneme in a peak of a frame or two; its segment reaches at most this far (0.12 s) beyond the peak."""

_STAY, _NEXT, _OVER_BLANK, _ENTER = range(4)


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
    enter_filler: float = 3.0
    filler_frame: float = 0.5


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """Where a word was said. Frames count from 0; segments are half-open, in order, and hold their peak.

    Attributes:
        candidate: which of the word's pronunciations was said, an index.
        peaks: ``(n,)`` the frame in which each phoneme is most probable.
        starts: ``(n,)`` first frame of each phoneme's segment.
        ends: ``(n,)`` the frame after its last.
    """

    candidate: int
    peaks: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Filler:
    """Speech that the text does not have: frames ``start`` to ``end`` (half-open) before word number ``before``."""

    before: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """The best path: for each word of the text where it was said, or None if it was left out; and what was added."""

    words: tuple[AlignedWord | None, ...]
    fillers: tuple[Filler, ...]


def align(log_probs: Floats, words: Sequence[Sequence[Sequence[int]]], penalties: Penalties | None = None) -> Alignment:
    """Align frames with words, each word with one or more candidate pronunciations.

    Two equal phonemes in a row inside a word need a blank between them, as in CTC; across a word boundary they may
    share one long peak, as speakers do in "bus stop".

    Args:
        log_probs: ``(T, C)`` log-posteriors, class 0 the blank; T may be 0.
        words: for each word its candidates, each a non-empty sequence of classes 1..C-1.
        penalties: what leaving the text costs.

    Returns:
        The alignment. Words that do not fit into the frames, or cost more than their skip, are left out; no input of
        the right shape is an error.
    """
    penalties = penalties or Penalties()
    graph = _Graph(words, penalties)
    states = _best_path(_emissions(log_probs, penalties.filler_frame), graph)
    return _read_path(states, log_probs, graph)


class _Graph:
    """The word graph as arrays over its emitting states: pronunciations' states first, then blanks, then fillers.

    A pronunciation of n phonemes has 2n - 1 states, with an optional blank between neighbours.
    """

    def __init__(self, words: Sequence[Sequence[Sequence[int]]], penalties: Penalties) -> None:
        labels: list[int] = []
        entry: list[int] = []  # the word that a state begins, or -1
        over_blank: list[bool] = []  # may be reached from two states before
        self.owner: list[tuple[int, int, int]] = []  # word, candidate, phoneme; phoneme -1 for a blank
        ends: list[list[int]] = []
        for w, candidates in enumerate(words):
            ends.append([])
            for c, phonemes in enumerate(candidates):
                for i, phoneme in enumerate(phonemes):
                    if i:
                        labels.append(BLANK_ID)
                        entry.append(-1)
                        over_blank.append(False)
                        self.owner.append((w, c, -1))
                    labels.append(phoneme)
                    entry.append(w if i == 0 else -1)
                    over_blank.append(i > 0 and phonemes[i - 1] != phoneme)
                    self.owner.append((w, c, i))
                ends[-1].append(len(labels) - 1)
        self.word_count = len(words)
        self.chain_count = len(labels)
        junctions = self.word_count + 1
        self.blanks = slice(self.chain_count, self.chain_count + junctions)
        self.fillers = slice(self.chain_count + junctions, self.chain_count + 2 * junctions)
        self.state_count = self.chain_count + 2 * junctions
        self.labels = np.array(labels, dtype=np.intp)
        entries = np.array(entry, dtype=np.intp)
        self.entry_states: Ints = np.flatnonzero(entries >= 0)
        self.entry_words: Ints = entries[self.entry_states]
        self.follows = entries < 0
        self.over_blank = np.array(over_blank, dtype=bool)
        widest = max((len(e) for e in ends), default=0)
        self.ends = np.full((self.word_count, widest), self.state_count, dtype=np.intp)  # padded with a state never in
        for w, states in enumerate(ends):
            self.ends[w, : len(states)] = states
        skips = [penalties.skip_word + penalties.skip_phoneme * min(map(len, c)) for c in words]
        self.skip_costs = np.concatenate([[0.0], np.cumsum(skips)]).astype(np.float32)
        self.enter_filler = np.float32(penalties.enter_filler)

    def junctions(self, scores: Floats) -> tuple[Floats, Ints, Ints]:
        """The best score at each junction after a frame with these state scores.

        Returns:
            The scores, the junction from which words were skipped to get there (itself if none), and the state from
            which each junction is reached without a skip.
        """
        padded = np.append(scores, np.float32(-np.inf))
        count = self.word_count + 1
        source = np.arange(self.blanks.start, self.blanks.stop)
        best = scores[self.blanks].copy()
        better = scores[self.fillers] > best
        source[better] += count
        np.maximum(best, scores[self.fillers], out=best)
        if self.word_count:
            choice = self.ends[np.arange(self.word_count), padded[self.ends].argmax(axis=1)]
            ended = padded[choice]
            better = ended > best[1:]
            source[1:][better] = choice[better]
            np.maximum(best[1:], ended, out=best[1:])
        return (*self.skip_words(best), source)

    def skip_words(self, best: Floats) -> tuple[Floats, Ints]:
        """Let every junction also be reached from an earlier one by leaving out the words between."""
        level = best + self.skip_costs
        highest = np.maximum.accumulate(level)
        origin = np.maximum.accumulate(np.where(level >= highest, np.arange(len(level)), 0))
        return highest - self.skip_costs, origin


def _emissions(log_probs: Floats, filler_frame: float) -> Floats:
    """The log-posteriors with one more column: the filler's, which is blank or, at a cost, any phoneme."""
    log_probs = np.asarray(log_probs, dtype=np.float32)
    blank = log_probs[:, BLANK_ID]
    speech = np.log(np.maximum(-np.expm1(np.minimum(blank, 0.0)), 1e-10)) - filler_frame
    return np.concatenate([log_probs, np.maximum(blank, speech)[:, None]], axis=1)


def _best_path(emissions: Floats, graph: _Graph) -> Ints:
    """The state of each frame, by Viterbi's algorithm; memory is about one byte for each state and frame."""
    frames, n = len(emissions), graph.chain_count
    moves = np.zeros((frames, graph.state_count), dtype=np.int8)
    origins = np.zeros((frames + 1, graph.word_count + 1), dtype=np.int32)
    sources = np.zeros((frames + 1, graph.word_count + 1), dtype=np.int32)
    scores = np.full(graph.state_count, -np.inf, dtype=np.float32)
    start = np.full(graph.word_count + 1, -np.inf, dtype=np.float32)
    start[0] = 0.0
    at_junction, origins[0] = graph.skip_words(start)
    for t in range(frames):
        new = np.empty_like(scores)
        chain, move = scores[:n].copy(), moves[t]
        if n:
            for code, distance, allowed in ((_NEXT, 1, graph.follows), (_OVER_BLANK, 2, graph.over_blank)):
                shifted = np.full(n, -np.inf, dtype=np.float32)
                shifted[distance:] = np.where(allowed[distance:], scores[: max(0, n - distance)], -np.inf)
                better = shifted > chain
                chain[better] = shifted[better]
                move[:n][better] = code
            entering = at_junction[graph.entry_words]
            better = entering > chain[graph.entry_states]
            chain[graph.entry_states[better]] = entering[better]
            move[graph.entry_states[better]] = _ENTER
        new[:n] = chain + emissions[t, graph.labels]
        new[graph.blanks] = at_junction + emissions[t, BLANK_ID]
        move[graph.blanks] = _ENTER
        filler, fresh = scores[graph.fillers], at_junction - graph.enter_filler
        move[graph.fillers] = np.where(fresh > filler, _ENTER, _STAY)
        new[graph.fillers] = np.maximum(filler, fresh) + emissions[t, -1]
        scores = new
        at_junction, origins[t + 1], sources[t + 1] = graph.junctions(scores)
    return _trace_back(graph, moves, origins, sources)


def _trace_back(graph: _Graph, moves: NDArray[np.int8], origins: NDArray[np.int32], sources: NDArray[np.int32]) -> Ints:
    """Walk from the last junction to the first frame."""
    frames = len(moves)
    states = np.zeros(frames, dtype=np.intp)
    junction_of = np.concatenate(
        [[graph.owner[s][0] for s in range(graph.chain_count)], np.tile(np.arange(graph.word_count + 1), 2)]
    ).astype(np.intp)  # from which junction a state is entered
    state = int(sources[frames, origins[frames, -1]]) if frames else 0
    for t in range(frames - 1, -1, -1):
        states[t] = state
        move = moves[t, state]
        if move == _ENTER and t:
            state = int(sources[t, origins[t, junction_of[state]]])
        elif move in (_NEXT, _OVER_BLANK):
            state -= int(move)
    return states


def _read_path(states: Ints, log_probs: Floats, graph: _Graph) -> Alignment:
    """Turn states into words, segments and fillers."""
    peaks: dict[tuple[int, int], list[int]] = {}
    fillers: list[Filler] = []
    anchors: list[tuple[int, int]] = []  # stretches of frames that segments must not reach into, or share
    for first, last in _runs(states):
        state = int(states[first])
        if state < graph.chain_count:
            word, candidate, phoneme = graph.owner[state]
            if phoneme >= 0:
                peak = first + int(np.argmax(log_probs[first:last, graph.labels[state]]))
                peaks.setdefault((word, candidate), []).append(peak)
                anchors.append((peak, peak + 1))
        elif state >= graph.fillers.start:
            fillers.append(Filler(before=state - graph.fillers.start, start=first, end=last))
            anchors.append((first, last))
    bounds = dict(zip(anchors, segments_around(anchors, len(log_probs)), strict=True))
    words: list[AlignedWord | None] = [None] * graph.word_count
    for (word, candidate), at in peaks.items():
        segments = [bounds[(peak, peak + 1)] for peak in at]
        starts, ends = zip(*segments, strict=True)
        words[word] = AlignedWord(candidate, tuple(at), starts, ends)
    return Alignment(tuple(words), tuple(fillers))


def _runs(states: Ints) -> list[tuple[int, int]]:
    """Half-open stretches of frames in the same state."""
    if not len(states):
        return []
    cuts = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states)]
    return list(pairwise(cuts))


def segments_around(anchors: Sequence[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
    """Widen stretches of frames to segments.

    Args:
        anchors: half-open, in order, disjoint.
        frames: how many there are.

    Returns:
        For each anchor a half-open segment that holds it: as far as half-way to its neighbours, and at most
        ``MAX_FRAMES_BEYOND_PEAK`` frames beyond it.
    """
    if not anchors:
        return []
    cuts = [0, *((a[1] + b[0]) // 2 for a, b in pairwise(anchors)), frames]
    return [
        (max(cut, start - MAX_FRAMES_BEYOND_PEAK), min(next_cut, end + MAX_FRAMES_BEYOND_PEAK))
        for (start, end), (cut, next_cut) in zip(anchors, pairwise(cuts), strict=True)
    ]
