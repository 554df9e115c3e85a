"""CTC forced alignment for training, compiled; the service's own knows omissions, insertions and alternatives too."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from app.core.alignment import segments_around

_NEVER = -1e9


def align_batch(
    log_probs: torch.Tensor, frames: Sequence[int], labels: Sequence[Sequence[int]]
) -> list[NDArray[np.int64] | None]:
    """Align each recording with its phonemes.

    Args:
        log_probs: ``(B, T, C)`` log-posteriors, class 0 the blank.
        frames: of each recording that are not padding.
        labels: classes 1..C-1 of each.

    Returns:
        For each recording ``(3, N)``: the first frame of each phoneme's segment, the one after its last, and its peak,
        by the same rule as ``app.core.alignment``; None where the phonemes do not fit into the frames.
    """
    posteriors = log_probs.float().cpu().numpy()
    return [
        _segments(_peaks(row[:length], np.asarray(label)), length)
        for row, length, label in zip(posteriors, frames, labels, strict=True)
    ]


def _segments(peaks: NDArray[np.int64] | None, frames: int) -> NDArray[np.int64] | None:
    if peaks is None:
        return None
    bounds = segments_around([(peak, peak + 1) for peak in peaks.tolist()], frames)
    starts, ends = zip(*bounds, strict=True)
    return np.array([starts, ends, peaks])


@numba.njit(cache=True)
def _peaks(log_probs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The most probable frame of each label on the best path, by Viterbi's algorithm; None where there is no path.

    States are blanks and labels in turn: blank, label 0, blank, label 1, ..., blank.

    Args:
        log_probs: ``(T, C)``, T at least 1.
        labels: ``(N,)`` classes, N at least 1.
    """
    frames, count = len(log_probs), 2 * len(labels) + 1
    back = np.zeros((frames, count), np.int8)
    scores = np.full(count, _NEVER, np.float32)
    scores[0], scores[1] = log_probs[0, 0], log_probs[0, labels[0]]
    for t in range(1, frames):
        for state in range(min(count, 2 * t + 2) - 1, -1, -1):  # downwards: what is below is still of the frame before
            best, step = scores[state], 0
            if state > 0 and scores[state - 1] > best:
                best, step = scores[state - 1], 1
            label = labels[state // 2] if state % 2 else 0
            if state % 2 and state > 1 and label != labels[state // 2 - 1] and scores[state - 2] > best:
                best, step = scores[state - 2], 2
            scores[state] = best + log_probs[t, label]
            back[t, state] = step
    state = count - 1 if scores[count - 1] >= scores[count - 2] else count - 2
    if scores[state] < _NEVER / 2:
        return None
    peaks = np.zeros(len(labels), np.int64)
    highest = np.full(len(labels), -np.inf, np.float32)
    for t in range(frames - 1, -1, -1):
        if state % 2:
            place = state // 2
            if log_probs[t, labels[place]] >= highest[place]:  # of equal ones the first
                peaks[place], highest[place] = t, log_probs[t, labels[place]]
        state -= back[t, state]
    return peaks
