"""Everything that is taken from a recording's samples before they are let go."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.core.acoustic_engine import FramePosteriors
from app.core.audio import SAMPLE_RATE, Recording
from app.core.audio_quality import signal_to_noise_db
from app.core.phoneme_extractor import HeardSegment, free_decode
from app.core.phonemes import ipa
from app.core.pitch import PitchContour, PitchTracker
from app.core.results import DecodedPhoneme, PitchInfo, PitchPoint

CONTOUR_STEP_SECONDS = 0.03


@dataclass(frozen=True, slots=True)
class Heard:
    """What is left of a recording once the models have heard it: everything but its samples."""

    phonemes: list[HeardSegment]
    pitch: PitchContour
    duration: float
    source_sample_rate: int
    source_channels: int
    format: str
    clipping_ratio: float
    snr_db: float | None

    def decoded(self) -> list[DecodedPhoneme]:
        """The free decode, as the answer has it."""
        return [
            DecodedPhoneme(h.phoneme, ipa(h.phoneme), h.start, min(h.end, self.duration), h.probability)
            for h in self.phonemes
        ]

    def melody(self) -> PitchInfo:
        """The pitch, its contour thinned to what a graph shows."""
        points: list[PitchPoint] = []
        for at, hz in zip(self.pitch.times.tolist(), self.pitch.hz.tolist(), strict=True):
            if not points or at - points[-1].time >= CONTOUR_STEP_SECONDS - 1e-6:
                points.append(PitchPoint(at, hz))
        return PitchInfo(self.pitch.median_hz, self.pitch.range_semitones, points)


def hear(recording: Recording, posteriors: FramePosteriors, tracker: PitchTracker) -> Heard:
    """Everything that needs the samples themselves."""
    phonemes = free_decode(posteriors)
    return Heard(
        phonemes=phonemes,
        pitch=_pitch_of_speech(tracker, recording.waveform, phonemes),
        duration=recording.duration,
        source_sample_rate=recording.source_sample_rate,
        source_channels=recording.source_channels,
        format=recording.format,
        clipping_ratio=recording.clipping_ratio,
        snr_db=signal_to_noise_db(recording.waveform, [(h.start, h.end) for h in phonemes]),
    )


def _pitch_of_speech(tracker: PitchTracker, waveform: NDArray[np.float32], heard: list[HeardSegment]) -> PitchContour:
    """The pitch from the first to the last sound; tracking it costs as much as the acoustic model does."""
    if not heard:
        return PitchContour(np.zeros(0, np.float32), np.zeros(0, np.float32))
    contour = tracker.track(waveform[int(heard[0].start * SAMPLE_RATE) : int(heard[-1].end * SAMPLE_RATE)])
    return replace(contour, times=contour.times + np.float32(heard[0].start))
