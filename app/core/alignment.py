"""CTC forced alignment of frame log-posteriors with a graph of words, as pure functions on arrays.

The graph is a line of junctions, one before the first word, one after each word. From a junction to the next leads
every candidate pronunciation of the word, and a skip, which makes the word an omission. At a junction the path may wait
in blank, or in a filler that takes any speech, which makes an insertion. The best path is found by Viterbi's
algorithm, one step a frame, each step on all states at once. What it must remember is a quarter of a byte for each
frame and state, so that the text decides the memory as much as the recording does: ``alignment_mb`` says how much.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from app.core.errors import AnalysisTimeout
from app.core.word_graph import (
    BLANK_ID,
    FROM_CANDIDATE,
    FROM_FILLER,
    MAX_STATES,
    Floats,
    Ints,
    Penalties,
    WordGraph,
    candidates_that_fit,
    count_states,
    source_type,
)

__all__ = [
    "BLANK_ID",
    "MAX_STATES",
    "AlignedWord",
    "Alignment",
    "Filler",
    "Penalties",
    "align",
    "alignment_mb",
    "segments_around",
]

MAX_FRAMES_BEYOND_PEAK = 6
"""CTC says a phoneme in a peak of a frame or two; its segment reaches at most this far (0.12 s) beyond the peak."""

FRAMES_BETWEEN_LOOKS = 100
"""How often the search looks whether anybody still waits for it: well within a second, however long the text."""

_BASE_BYTES = 64 * 1024
_BYTES_PER_STATE = 64
_BYTES_PER_CANDIDATE = 256
_BYTES_PER_PHONEME = 8
_BYTES_PER_ARC = 32  # from a candidate's end to its junction
_BYTES_PER_FRAME = 32
_BYTES_PER_STEP = 640  # of the path, in a frame
"""Upper bounds on what the graph's arrays, the candidates' lists and the path take at their peak; found with
tracemalloc, kept honest by the tests."""


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


def align(
    log_probs: Floats,
    words: Sequence[Sequence[Sequence[int]]],
    penalties: Penalties | None = None,
    cancelled: threading.Event | None = None,
) -> Alignment:
    """Align frames with words, each word with one or more candidate pronunciations.

    Two equal phonemes in a row inside a word need a blank between them, as in CTC; across a word boundary they may
    share one long peak, as speakers do in "bus stop".

    Args:
        log_probs: ``(T, C)`` log-posteriors, class 0 the blank; T may be 0.
        words: for each word its candidates, best first, each a non-empty sequence of classes 1..C-1. Where they have
            more than ``MAX_STATES`` states, only the first few of each word are looked at.
        penalties: what leaving the text costs.
        cancelled: looked at every ``FRAMES_BETWEEN_LOOKS`` frames.

    Returns:
        The alignment. Words that do not fit into the frames, or cost more than their skip, are left out.

    Raises:
        InvalidInput: the words have too many states even with one candidate each.
        AnalysisTimeout: ``cancelled`` was set.
    """
    graph = WordGraph(words, penalties or Penalties())
    log_probs = np.asarray(log_probs, dtype=np.float32)
    return _read_path(_best_path(log_probs, graph, cancelled), log_probs, graph)


def alignment_mb(frames: int, words: Sequence[Sequence[Sized]]) -> float:
    """The memory that ``align`` takes at its peak, at most, in MB; the candidates as lists of integers are counted in.

    Args:
        frames: how many there are, or will be.
        words: for each word its candidates; nothing but how long they are is looked at.

    Raises:
        InvalidInput: the words have too many states even with one candidate each.
    """
    kept = candidates_that_fit(words)
    states = count_states(words, kept)
    junctions = len(words) + 1
    table_row = states // 4 + 1 + junctions * source_type(kept).itemsize
    per_frame = max(table_row, _BYTES_PER_STEP) + _BYTES_PER_FRAME  # the path is read when the table is gone
    fixed = (
        _BASE_BYTES
        + states * _BYTES_PER_STATE
        + junctions * kept * _BYTES_PER_ARC
        + (sum(map(len, words)) + junctions) * _BYTES_PER_CANDIDATE
        + sum(len(c) for candidates in words for c in candidates) * _BYTES_PER_PHONEME
    )
    return (frames * per_frame + fixed) / 2**20


class _Moves:
    """How each state, and each junction after it, is best reached in each frame.

    Attributes:
        bits: ``(T, ...)`` packed: for each state of a pronunciation whether from the state before (from a junction, if
            it is a first one); from ``over`` on for each whether from two before; from ``fresh`` on for each filler
            whether from a junction; from ``reached`` on for each junction whether without a skip. Else a state stays.
        sources: ``(T, words + 1)`` from what each junction is reached without a skip.
    """

    def __init__(self, frames: int, graph: WordGraph) -> None:
        junctions = graph.word_count + 1
        self.over = graph.chain_count
        self.fresh = 2 * self.over
        self.reached = self.fresh + junctions
        self.width = self.reached + junctions
        self.bits = np.empty((frames, (self.width + 7) // 8), dtype=np.uint8)
        self.sources = np.empty((frames, junctions), dtype=source_type(graph.widest))

    def bit(self, frame: int, index: int) -> bool:
        """One of a frame's bits, not packed."""
        return bool(self.bits[frame, index >> 3] >> (7 - (index & 7)) & 1)


def _filler_scores(log_probs: Floats, filler_frame: float) -> Floats:
    """What a filler scores in each frame: as blank or, at a cost, as any phoneme."""
    blank = log_probs[:, BLANK_ID]
    speech = np.log(np.maximum(-np.expm1(np.minimum(blank, 0.0)), 1e-10)) - filler_frame
    return np.maximum(blank, speech)


def _best_path(log_probs: Floats, graph: WordGraph, cancelled: threading.Event | None) -> Ints:
    """The state of each frame, by Viterbi's algorithm.

    Raises:
        AnalysisTimeout: ``cancelled`` was set.
    """
    n = graph.chain_count
    filler_scores = _filler_scores(log_probs, graph.filler_frame)
    moves = _Moves(len(log_probs), graph)
    marks = np.zeros(moves.width, dtype=bool)
    follows, over, fresh, reached = np.split(marks, [moves.over, moves.fresh, moves.reached])
    # Two states never in before the first, for those that come from one or two before; one after the last, for padding.
    before, after = np.full((2, graph.state_count + 3), -np.inf, dtype=np.float32)
    other = np.empty(n, dtype=np.float32)
    at_junction = -graph.skip_costs
    for t in range(len(log_probs)):
        if cancelled is not None and t % FRAMES_BETWEEN_LOOKS == 0 and cancelled.is_set():
            raise AnalysisTimeout("The analysis was stopped.")
        old, new = before[2:], after[2:]
        best = new[:n]
        np.subtract(before[1 : n + 1], graph.follow_cost, out=other)
        np.greater(other, old[:n], out=follows)
        np.maximum(other, old[:n], out=best)
        np.subtract(before[:n], graph.over_cost, out=other)
        np.greater(other, best, out=over)
        np.maximum(other, best, out=best)
        entering, staying = at_junction.take(graph.word_of), best.take(graph.starts)
        follows[graph.starts] = entering > staying
        best[graph.starts] = np.maximum(entering, staying)
        best += log_probs[t].take(graph.labels, out=other, mode="clip")
        np.add(at_junction, log_probs[t, BLANK_ID], out=new[graph.blanks])
        entering = at_junction - graph.enter_filler
        np.greater(entering, old[graph.fillers], out=fresh)
        np.add(np.maximum(entering, old[graph.fillers]), filler_scores[t], out=new[graph.fillers])
        at_junction = graph.reach_junctions(new, moves.sources[t], reached)
        moves.bits[t] = np.packbits(marks)
        before, after = after, before
    return _trace_back(graph, moves)


def _trace_back(graph: WordGraph, moves: _Moves) -> Ints:
    """Walk from the last junction to the first frame."""
    states = np.zeros(len(moves.bits), dtype=np.intp)
    state, junction = 0, graph.word_count
    for t in range(len(states) - 1, -1, -1):
        if junction >= 0:  # that the path comes through after this frame
            state = _state_before(graph, moves, t, junction)
        states[t] = state
        state, junction = _step_back(graph, moves, t, state)
    return states


def _state_before(graph: WordGraph, moves: _Moves, frame: int, junction: int) -> int:
    """The state in which the best path to a junction after a frame is in that frame."""
    while not moves.bit(frame, moves.reached + junction):
        junction -= 1
    source = int(moves.sources[frame, junction])
    if source >= FROM_CANDIDATE:
        return int(graph.ends[junction - 1, source - FROM_CANDIDATE])
    return (graph.fillers if source == FROM_FILLER else graph.blanks).start + junction


def _step_back(graph: WordGraph, moves: _Moves, frame: int, state: int) -> tuple[int, int]:
    """From where the best path is in a state in a frame: the state before, and the junction between, or -1."""
    if state >= graph.fillers.start:
        filler = state - graph.fillers.start
        return state, filler if moves.bit(frame, moves.fresh + filler) else -1
    if state >= graph.blanks.start:
        return state, state - graph.blanks.start
    if moves.bit(frame, moves.over + state):
        return state - 2, -1
    if not moves.bit(frame, state):
        return state, -1
    here = graph.chain_at(state)
    return (state, int(graph.word_of[here])) if graph.starts[here] == state else (state - 1, -1)


def _read_path(states: Ints, log_probs: Floats, graph: WordGraph) -> Alignment:
    """Turn states into words, segments and fillers."""
    peaks: dict[tuple[int, int], list[int]] = {}
    fillers: list[Filler] = []
    anchors: list[tuple[int, int]] = []  # stretches of frames that segments must not reach into, or share
    for first, last in _runs(states):
        state = int(states[first])
        if state < graph.chain_count:
            here = graph.chain_at(state)
            if (state - graph.starts[here]) % 2 == 0:  # a phoneme, not a blank between two
                peak = first + int(np.argmax(log_probs[first:last, graph.labels[state]]))
                peaks.setdefault((int(graph.word_of[here]), int(graph.candidate_of[here])), []).append(peak)
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
