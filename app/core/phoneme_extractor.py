"""Waveform -> frame posteriors and the phonemes that were heard, for recordings of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import SAMPLE_RATE, AcousticEngine, FramePosteriors
from app.core.alignment import BLANK_ID, segments_around
from app.core.errors import AnalysisTimeout
from app.core.phonemes import CLASSES

OVERLAP_SECONDS = 4.0
"""How much neighbouring windows share: each frame has at least a second of context on both sides."""


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """A phoneme of the free decode: times in seconds, probability at its peak."""

    phoneme: str
    start: float
    end: float
    probability: float


class PhonemeExtractor:
    """Runs an acoustic model over recordings of any length, in memory that does not grow with it but for the result.

    Args:
        engine: the loaded model.
    """

    def __init__(self, engine: AcousticEngine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        """The model's name."""
        return self._engine.name

    @property
    def memory_factor(self) -> float:
        """The engine's."""
        return self._engine.memory_factor

    @property
    def head_folder(self) -> Path | None:
        """Where the engine's scoring head is."""
        return self._engine.head_folder

    def warm_up(self) -> None:
        """Run the model on short and long noise, so that the first request is as quick as the others."""
        noise = np.random.default_rng(0).normal(0, 0.01, 8 * SAMPLE_RATE).astype(np.float32)
        for seconds in (0.1, 3.0, 8.0):
            self._engine.posteriors(noise[: int(seconds * SAMPLE_RATE)])

    def extract(self, waveform: NDArray[np.float32], cancelled: Event | None = None) -> FramePosteriors:
        """Posteriors of a whole recording, and what the scoring head pools.

        A recording longer than the engine's window goes through overlapping windows; they are joined where both are
        surest of blank, so that no phoneme is cut or doubled.

        Args:
            waveform: ``(N,)`` mono at 16 kHz, 0.1 s or more.
            cancelled: looked at between windows.

        Raises:
            AnalysisTimeout: ``cancelled`` was set.
        """
        window = int(self._engine.window_seconds * SAMPLE_RATE)
        if len(waveform) <= window:
            return self._engine.posteriors(waveform)
        parts: list[FramePosteriors] = []
        done = 0  # frames that are final
        for start in window_starts(len(waveform), window, int(OVERLAP_SECONDS * SAMPLE_RATE)):
            if cancelled is not None and cancelled.is_set():
                raise AnalysisTimeout("The analysis was stopped.")
            part = self._engine.posteriors(waveform[start : start + window])
            offset, length = round(start / SAMPLE_RATE / part.frame_seconds), len(part.log_probs)
            if parts:
                shared = done - offset  # frames at the start of this part that the last one has too
                join = min(shared, round(OVERLAP_SECONDS / part.frame_seconds))
                last = parts[-1]
                kept = len(last.log_probs) - join
                cut = _quietest(last.log_probs[kept:], part.log_probs[shared - join : shared])
                parts[-1] = _between(last, 0, kept + cut)
                part = _between(part, shared - join + cut, length)
            parts.append(part)
            done = offset + length
        return _joined(parts)


def _between(part: FramePosteriors, first: int, last: int) -> FramePosteriors:
    """Some frames of a part."""
    frames = None if part.frames is None else part.frames[first:last]
    energy = None if part.energy is None else part.energy[first:last]
    return FramePosteriors(part.log_probs[first:last], part.frame_seconds, frames, energy)


def _joined(parts: Sequence[FramePosteriors]) -> FramePosteriors:
    """One part after the other."""
    frames = [part.frames for part in parts if part.frames is not None]
    energy = [part.energy for part in parts if part.energy is not None]
    return FramePosteriors(
        np.concatenate([part.log_probs for part in parts]),
        parts[0].frame_seconds,
        np.concatenate(frames) if frames else None,
        np.concatenate(energy) if energy else None,
    )


def window_starts(samples: int, window: int, overlap: int) -> Iterator[int]:
    """Where windows begin: each shares ``overlap`` samples with the next, the last one is whole and ends at the end.

    All starts are multiples of 20 ms, so that frames of neighbouring windows coincide.
    """
    grid = SAMPLE_RATE // 50
    last = -(-(samples - window) // grid) * grid
    start = 0
    while start < last:
        yield start
        start += (window - overlap) // grid * grid
    yield last


def _quietest(before: NDArray[np.float32], after: NDArray[np.float32]) -> int:
    """The frame in the middle half of an overlap at which both windows are surest of blank."""
    quarter = len(before) // 4
    blank = before[:, BLANK_ID] + after[:, BLANK_ID]
    return quarter + int(np.argmax(blank[quarter : len(blank) - quarter]))


def free_decode(posteriors: FramePosteriors) -> list[HeardSegment]:
    """What was heard without looking at a text: the most probable class of each frame, repeats and blanks collapsed."""
    log_probs = posteriors.log_probs
    best = log_probs.argmax(axis=1)
    edges = np.flatnonzero(np.diff(best, prepend=-1, append=-1))
    runs = [(int(a), int(b)) for a, b in pairwise(edges) if best[a] != BLANK_ID]
    heard = []
    for (first, last), (start, end) in zip(runs, segments_around(runs, len(log_probs)), strict=True):
        label = int(best[first])
        heard.append(
            HeardSegment(
                phoneme=CLASSES[label],
                start=start * posteriors.frame_seconds,
                end=end * posteriors.frame_seconds,
                probability=float(np.exp(log_probs[first:last, label].max())),
            )
        )
    return heard
