"""Recordings of any length: windows, their joints, and the free decode."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from app.core.acoustic_engine import AcousticEngine, FramePosteriors, load_engine
from app.core.errors import AnalysisTimeout
from app.core.phoneme_extractor import PhonemeExtractor, free_decode, window_starts
from app.core.phonemes import CLASSES
from tests.voice import RATE, say, silence

FRAME = RATE // 50


class EchoEngine:
    """Says in each frame the class whose number the samples hold, and keeps the samples as its frames and energy."""

    name = "echo"
    window_seconds = 6.0
    memory_factor = 1.0
    head_folder: Path | None = None

    def __init__(self) -> None:
        self.calls: list[int] = []

    def posteriors(self, waveform: NDArray[np.float32]) -> FramePosteriors:
        self.calls.append(len(waveform))
        labels = waveform[: len(waveform) // FRAME * FRAME : FRAME]
        log_probs = np.full((len(labels), len(CLASSES)), -9.0, dtype=np.float32)
        log_probs[np.arange(len(labels)), labels.astype(int) % len(CLASSES)] = -0.01
        return FramePosteriors(log_probs, 0.02, labels[:, None].copy(), labels.copy())


@pytest.fixture(scope="module")
def engine() -> AcousticEngine:
    return load_engine(None, quantized=True)


@given(st.integers(1, 40 * RATE), st.integers(2, 8))
def test_windows_cover_the_recording_and_overlap(extra: int, seconds: int) -> None:
    window, overlap = seconds * RATE, RATE
    samples = window + extra
    starts = list(window_starts(samples, window, overlap))
    assert starts[0] == 0
    assert starts[-1] + window >= samples
    assert samples - starts[-1] > window - FRAME
    for before, after in pairwise(starts):
        assert before < after
        assert before + window - after >= overlap
        assert after % FRAME == 0


@pytest.mark.parametrize("seconds", [6.02, 7, 9.99, 14, 31.5])
def test_joined_windows_are_what_one_window_would_be(seconds: float) -> None:
    engine = EchoEngine()
    count = round(seconds * 50)
    waveform = np.repeat(np.arange(count, dtype=np.float32), FRAME)
    joined = PhonemeExtractor(engine).extract(waveform)
    assert joined.frames is not None
    assert joined.energy is not None
    assert joined.frames[:, 0].tolist() == joined.energy.tolist() == list(range(count))
    assert len(joined.log_probs) == count
    assert max(engine.calls) <= 6 * RATE


def test_a_set_flag_stops_between_windows() -> None:
    engine = EchoEngine()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(AnalysisTimeout):
        PhonemeExtractor(engine).extract(silence(20), cancelled)
    assert not engine.calls


def test_the_free_decode_collapses_repeats_and_leaves_out_blank() -> None:
    labels = [0, 5, 5, 0, 0, 5, 7, 0]
    log_probs = np.full((len(labels), len(CLASSES)), np.log(0.001), dtype=np.float32)
    log_probs[np.arange(len(labels)), labels] = np.log(0.9)
    heard = free_decode(FramePosteriors(log_probs, 0.02))
    assert [h.phoneme for h in heard] == [CLASSES[5], CLASSES[5], CLASSES[7]]
    assert all(h.probability == pytest.approx(0.9, abs=1e-3) for h in heard)
    assert all(a.end <= b.start for a, b in pairwise(heard))
    assert free_decode(FramePosteriors(log_probs[:0], 0.02)) == []


def test_a_long_recording_is_heard_as_its_parts_are(engine: AcousticEngine) -> None:
    """75 s in overlapping windows, against the sentences one by one."""
    sentences = [
        "The weather was warm and the children played outside.",
        "My brother works in a large office near the river.",
        "She bought seven green apples from the market.",
        "We usually have dinner together at half past six.",
    ]
    parts = [np.concatenate([say(s), silence(0.4)]) for s in sentences]
    order = [i % len(parts) for i in range(24)]
    extractor = PhonemeExtractor(engine)
    alone = [[h.phoneme for h in free_decode(extractor.extract(part))] for part in parts]
    whole_waveform = np.concatenate([parts[i] for i in order])
    assert len(whole_waveform) > 60 * RATE
    whole = extractor.extract(whole_waveform)
    assert len(whole.log_probs) == pytest.approx(len(whole_waveform) / FRAME, abs=1)
    heard = [h.phoneme for h in free_decode(whole)]
    expected = [phoneme for i in order for phoneme in alone[i]]
    # Not the same: the model hears in context. One trained on short recordings alone differed by 0.16.
    assert Levenshtein.distance(heard, expected) / len(expected) < 0.12
    times = [h.start for h in free_decode(whole)]
    assert times == sorted(times)


@pytest.mark.parametrize("seconds", [0.1, 0.11, 0.5])
def test_the_shortest_recordings_work(engine: AcousticEngine, seconds: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)
    posteriors = engine.posteriors(noise)
    assert len(posteriors.log_probs) == pytest.approx(seconds * 50, abs=1)
    assert np.allclose(np.exp(posteriors.log_probs).sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("quantized", [True, False])
def test_every_precision_hears_the_same(engine: AcousticEngine, quantized: bool) -> None:
    other = load_engine(None, quantized=quantized)
    waveform = say("She bought seven green apples from the market.")
    assert other.name.startswith("elocute-base-")
    heard, expected = ([h.phoneme for h in free_decode(e.posteriors(waveform))] for e in (other, engine))
    assert Levenshtein.distance(heard, expected) <= 1
