"""The pitch of every recording, tracked once and kept: it is relative, so a change of speed only moves its times."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.pitch import PitchContour, PitchTracker
from training.corpus import Utterance


def load_pitch(cache: Path, utterances: Sequence[Utterance], clips: Sequence[NDArray[np.int16]]) -> list[PitchContour]:
    """The contours of the recordings, from ``cache`` as far as it has them; what is new is added to it.

    Args:
        cache: an ``.npz`` file, which need not exist.
        utterances: named by their ``utterance``.
        clips: their samples ``(N,)``, 16 bits at 16 kHz.
    """
    known: dict[str, NDArray[np.float32]] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["names"].tolist(), _split(stored["points"], stored["lengths"]), strict=True))
    missing = [i for i, utterance in enumerate(utterances) if utterance.utterance not in known]
    if missing:
        tracker = PitchTracker()

        def track(index: int) -> PitchContour:
            return tracker.track(clips[index].astype(np.float32) / 32768.0)

        with ThreadPoolExecutor() as pool:
            for i, contour in zip(missing, tqdm(pool.map(track, missing), "pitch", len(missing)), strict=True):
                known[utterances[i].utterance] = np.stack([contour.times, contour.hz])
        lengths = [points.shape[1] for points in known.values()]
        np.savez_compressed(cache, names=list(known), points=np.concatenate([*known.values()], axis=1), lengths=lengths)
    return [PitchContour(*known[utterance.utterance]) for utterance in utterances]


def _split(points: NDArray[np.float32], lengths: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    return np.split(points, np.cumsum(lengths)[:-1], axis=1)
