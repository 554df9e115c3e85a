from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soxr
from hibari import Hibari
from numpy.typing import NDArray

from app.core.audio import SAMPLE_RATE
from app.core.pitch import MAX_HZ, MIN_HZ, PitchContour, PitchTracker
from tests.core.clips import Signal


@pytest.fixture(scope="module")
def tracker() -> PitchTracker:
    return PitchTracker()


def sung(hz: float | NDArray[np.float64], seconds: float = 1.5, snr_db: float = 30, peak: float = 0.3) -> Signal:
    """Harmonics of ``hz``, which may be one value per sample, in noise."""
    count = int(seconds * SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, count)) / SAMPLE_RATE
    signal = np.sum([np.sin(k * phase) / k for k in range(1, 13)], axis=0)
    noise = np.random.default_rng(0).standard_normal(count) * np.std(signal) * 10 ** (-snr_db / 20)
    mixed = signal + noise
    return np.asarray(peak * mixed / np.abs(mixed).max(), dtype=np.float32)


@pytest.mark.parametrize("hz", [80, 120, 210, 350, 500])
@pytest.mark.parametrize("snr_db", [40, 10])
def test_a_steady_voice(tracker: PitchTracker, hz: float, snr_db: float) -> None:
    contour = tracker.track(sung(hz, snr_db=snr_db))
    assert contour.times.dtype == contour.hz.dtype == np.float32
    assert contour.times.size > 0.85 * 1.5 / 0.016
    assert contour.median_hz == pytest.approx(hz, rel=0.015)
    assert contour.range_semitones == pytest.approx(0, abs=0.4)


def test_a_glide_is_followed_in_time(tracker: PitchTracker) -> None:
    truth = np.linspace(150, 300, 2 * SAMPLE_RATE)
    contour = tracker.track(sung(truth, seconds=2))
    expected = truth[np.minimum((contour.times * SAMPLE_RATE).astype(int), truth.size - 1)]
    assert np.median(np.abs(12 * np.log2(contour.hz / expected))) < 0.25
    assert contour.range_semitones == pytest.approx(12 * 0.87, abs=1)  # 5th to 95th percentile of an octave


def test_times_ascend_within_the_recording_and_skip_what_is_not_voiced(tracker: PitchTracker) -> None:
    gap = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.02
    contour = tracker.track(np.concatenate([sung(200, 1), gap, sung(220, 1)]))
    assert np.all(np.diff(contour.times) > 0)
    assert contour.times[-1] <= 3
    assert not np.any((contour.times > 1.1) & (contour.times < 1.9))
    assert np.all((contour.hz >= MIN_HZ) & (contour.hz <= MAX_HZ))


@pytest.mark.parametrize("size", [0, 1, 100, 1600, 16_000])
def test_silence_has_no_pitch(tracker: PitchTracker, size: int) -> None:
    contour = tracker.track(np.zeros(size, np.float32))
    assert contour.times.size == contour.hz.size == 0
    assert contour.median_hz is None
    assert contour.range_semitones is None


def test_noise_has_no_pitch(tracker: PitchTracker) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32) * 0.1
    assert tracker.track(noise).median_hz is None


def test_a_quiet_recording_is_tracked_like_a_loud_one(tracker: PitchTracker) -> None:
    assert tracker.track(sung(200, peak=0.004)).median_hz == pytest.approx(200, rel=0.01)


def test_a_long_recording_is_tracked_without_seams(tracker: PitchTracker) -> None:
    time = np.arange(9 * SAMPLE_RATE) / SAMPLE_RATE
    truth = 200 + 40 * np.sin(2 * np.pi * 0.7 * time)
    contour = tracker.track(sung(truth, seconds=9))
    assert np.diff(contour.times).max() == pytest.approx(0.016, abs=1e-3)
    expected = truth[np.minimum((contour.times * SAMPLE_RATE).astype(int), truth.size - 1)]
    assert np.abs(12 * np.log2(contour.hz / expected)).max() < 1


def test_octave_errors_do_not_widen_the_range(tracker: PitchTracker) -> None:
    # Every harmonic an octave up for an eighth of the time: what a creak or a tracker's slip looks like.
    truth = np.full(4 * SAMPLE_RATE, 180.0)
    truth[SAMPLE_RATE : SAMPLE_RATE * 3 // 2] = 360
    contour = tracker.track(sung(truth, seconds=4))
    assert contour.median_hz == pytest.approx(180, rel=0.015)
    assert contour.range_semitones == pytest.approx(0, abs=0.4)


def test_it_may_be_shared_by_threads(tracker: PitchTracker) -> None:
    voices = [sung(hz) for hz in (110, 160, 230, 320)] * 3
    alone = [tracker.track(voice).median_hz for voice in voices]
    with ThreadPoolExecutor(4) as pool:
        together = [contour.median_hz for contour in pool.map(tracker.track, voices)]
    assert together == alone


def test_synthetic_speech(tracker: PitchTracker) -> None:
    speech = Hibari()("Did you really want to go there yesterday?", seed=0)
    contour = tracker.track(soxr.resample(speech, 24_000, SAMPLE_RATE))
    assert contour.median_hz is not None
    assert 170 < contour.median_hz < 260  # the voice is a woman's
    assert contour.range_semitones is not None
    assert 4 < contour.range_semitones < 16


def test_a_contour_of_one_value() -> None:
    contour = PitchContour(np.array([0.1], np.float32), np.array([200], np.float32))
    assert (contour.median_hz, contour.range_semitones) == (200, 0)
