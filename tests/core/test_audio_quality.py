from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.audio import SAMPLE_RATE
from app.core.audio_quality import signal_to_noise_db
from tests.core.clips import Signal

SPEECH = [(0.5, 1.2), (1.6, 2.5)]


def spoken(noise_rms: float, speech: list[tuple[float, float]], seconds: float = 3) -> Signal:
    """A tone of RMS 0.1 where speech is, and noise everywhere."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    inside = np.zeros(time.size)
    for start, end in speech:
        inside[(time >= start) & (time < end)] = 1
    noise = np.random.default_rng(0).standard_normal(time.size) * noise_rms
    tone = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 300 * time)
    return np.asarray(tone * inside + noise, dtype=np.float32)


@pytest.mark.parametrize("decibels", [3, 10, 20, 40])
def test_a_known_ratio_is_found(decibels: float) -> None:
    waveform = spoken(0.1 * 10 ** (-decibels / 20), SPEECH)
    assert signal_to_noise_db(waveform, SPEECH) == pytest.approx(decibels, abs=0.7)


def test_an_offset_is_no_noise() -> None:
    assert signal_to_noise_db(spoken(0.01, SPEECH) + np.float32(0.2), SPEECH) == pytest.approx(20, abs=0.7)


def test_a_click_between_the_words_does_not_count() -> None:
    waveform = spoken(0.01, SPEECH)
    waveform[int(1.4 * SAMPLE_RATE)] = 1
    assert signal_to_noise_db(waveform, SPEECH) == pytest.approx(20, abs=0.7)


def test_speech_from_end_to_end_is_measured_by_its_quietest_frames() -> None:
    waveform = spoken(0.01, [(0.3, 1), (1.2, 2.8)])
    assert signal_to_noise_db(waveform, [(0, 3)]) == pytest.approx(20, abs=2)


def test_a_clean_recording_stays_within_the_scale() -> None:
    assert signal_to_noise_db(spoken(0, SPEECH), SPEECH) == 60
    assert signal_to_noise_db(spoken(0.1, []), SPEECH) == pytest.approx(0, abs=0.5)


def test_without_speech_there_is_no_ratio() -> None:
    assert signal_to_noise_db(spoken(0.01, []), []) is None
    assert signal_to_noise_db(np.zeros(10, np.float32), [(0, 1)]) is None


@given(
    seed=st.integers(0, 100),
    size=st.integers(0, 20_000),
    speech=st.lists(st.tuples(st.floats(-1, 2), st.floats(-1, 2)), max_size=4),
)
def test_the_ratio_is_always_within_the_scale(seed: int, size: int, speech: list[tuple[float, float]]) -> None:
    waveform = np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32) ** 3
    ratio = signal_to_noise_db(waveform, speech)
    assert ratio is None or 0 <= ratio <= 60
