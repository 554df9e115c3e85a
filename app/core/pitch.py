"""The melody of a voice: its fundamental frequency over time."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.core.acoustic_engine import SAMPLE_RATE
from app.core.errors import ModelError
from app.core.onnx_session import open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_HZ, MAX_HZ = 60.0, 600.0
"""Where the fundamental frequency of a voice is looked for, in Hz: from a low man's to a child's."""

_CHUNK = 40 * 1024  # samples pushed at a time, 2.56 s: bounds the tracker's memory to about 40 MB
_VOICED = 0.5
_QUIET_PEAK, _TARGET_PEAK = 0.1, 0.5
_MIN_VOICED_FRAMES = 3


@dataclass(frozen=True, slots=True)
class PitchContour:
    """The fundamental frequency of the voiced frames, every 16 ms.

    Attributes:
        times: (frames,) float32, middle of each voiced frame in seconds, ascending.
        hz: (frames,) float32, its fundamental frequency in Hz.
    """

    times: NDArray[np.float32]
    hz: NDArray[np.float32]

    @property
    def median_hz(self) -> float | None:
        """Median in Hz; None without a voiced frame."""
        return float(np.median(self.hz)) if self.hz.size else None

    @property
    def range_semitones(self) -> float | None:
        """From the 5th to the 95th percentile in semitones; None without a voiced frame."""
        if not self.hz.size:
            return None
        low, high = np.percentile(self.hz, (5, 95))
        return float(12 * np.log2(high / low))


def pitch_of_frames(contour: PitchContour, frames: int, frame_seconds: float) -> NDArray[np.float32]:
    """The pitch in an acoustic model's frames: ``(frames, 2)``, octaves above the contour's median, and 1 if voiced."""
    result = np.zeros((frames, 2), np.float32)
    if contour.hz.size:
        index = np.minimum((contour.times / frame_seconds).astype(np.int64), frames - 1)
        octaves = np.log2(contour.hz / np.median(contour.hz))
        count = np.bincount(index, minlength=frames)
        result[:, 0] = np.bincount(index, weights=octaves, minlength=frames) / np.maximum(count, 1)
        result[:, 1] = count > 0
    return result


class PitchTracker:
    """Tracks pitch with SwiftF0 (Nieradzik, 2025), a network of 14,000 weights; one instance serves every thread."""

    def __init__(self) -> None:
        specification = importlib.util.find_spec("swift_f0")
        if specification is None or not specification.submodule_search_locations:
            raise ModelError("The package swift-f0, which tracks pitch, is not installed.")
        session = open_session(Path(specification.submodule_search_locations[0]) / "model.onnx")
        import swift_f0  # after the session: importing onnxruntime itself, it would let it report its use

        self._detector = swift_f0.SwiftF0(threads=1, spin=False)
        self._detector.session = session  # its own would keep the largest request's memory for good

    def track(self, waveform: NDArray[np.float32]) -> PitchContour:
        """Track the pitch of a recording.

        Octave errors are removed with the rule of De Looze & Hirst (2008): a speaker's pitch lies between 0.75 times
        the first quartile and 1.5 times the third.

        Args:
            waveform: (samples,) mono at 16 kHz, finite.
        """
        peak = float(np.abs(waveform).max()) if waveform.size else 0.0
        if peak <= 0:
            return PitchContour(np.zeros(0, np.float32), np.zeros(0, np.float32))
        gain = np.float32(_TARGET_PEAK / peak if peak < _QUIET_PEAK else 1.0)  # the network expects a fair level
        stream = self._detector.stream(MIN_HZ, MAX_HZ)
        results = [
            stream.push(waveform[start : start + _CHUNK] * gain, SAMPLE_RATE)
            for start in range(0, waveform.size, _CHUNK)
        ]
        results.append(stream.flush())
        times = np.concatenate([result.timestamps for result in results])
        hz = np.concatenate([result.pitch_hz for result in results])
        voiced = np.concatenate([result.confidence for result in results]) >= _VOICED
        return _one_speaker(times[voiced].astype(np.float32), hz[voiced].astype(np.float32))


def _one_speaker(times: NDArray[np.float32], hz: NDArray[np.float32]) -> PitchContour:
    """Leave out the frames that are not within one speaker's range."""
    if hz.size < _MIN_VOICED_FRAMES:  # a click, not a voice
        return PitchContour(times[:0], hz[:0])
    low, high = np.percentile(hz, (25, 75))
    kept = (hz >= 0.75 * low) & (hz <= 1.5 * high)
    return PitchContour(times[kept], hz[kept])
