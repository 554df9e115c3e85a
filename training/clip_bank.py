"""All recordings in the memory of the training device: cut, joined, sped up, made noisy, turned into log-mel there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.log_mel import HOP, WINDOW, mel_filters
from training.corpus import SAMPLE_RATE

_TAPS = 8  # of the interpolation, on each side
_STEP = 64 * HOP


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording, played at a speed that changes pitch and formants too, as another speaker would.

    Attributes:
        index: of the recording.
        start: first sample.
        end: the sample after the last.
        speed: above 1 is faster, and higher.
    """

    index: int
    start: int
    end: int
    speed: float = 1.0

    @property
    def samples(self) -> int:
        """Its length as it is played."""
        return int((self.end - self.start) / self.speed)


@dataclass(frozen=True)
class Augmentation:
    """How training recordings are varied.

    Attributes:
        speed: how much slower or faster they are played at most, as a share.
        gain_db: how much softer or louder at most.
        noise_probability: how many of them get noise.
        noise_snr_db: the least and the greatest ratio of signal to noise.
        frequency_masks: bands that are masked in each.
        frequency_mask_bins: how wide these are at most, of 80.
        time_masks_per_second: stretches that are masked.
        time_mask_frames: how long these are at most, in frames of 10 ms.
    """

    speed: float = 0.12
    gain_db: float = 6.0
    noise_probability: float = 0.3
    noise_snr_db: tuple[float, float] = (12.0, 40.0)
    frequency_masks: int = 2
    frequency_mask_bins: int = 18
    time_masks_per_second: float = 0.6
    time_mask_frames: int = 20


class ClipBank:
    """Recordings as 16-bit samples at 16 kHz on a device.

    Args:
        clips: the samples of each, ``(N,)``.
        device: where they are kept and worked on.
    """

    def __init__(self, clips: Sequence[NDArray[np.int16]], device: torch.device) -> None:
        self.lengths = [len(clip) for clip in clips]
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self._samples = torch.from_numpy(np.concatenate(clips)).to(device)
        self._filters = torch.from_numpy(mel_filters()).to(device)
        self._window = torch.hann_window(WINDOW, device=device)
        self.device = device

    def waves(self, items: Sequence[Sequence[Piece]]) -> tuple[torch.Tensor, torch.Tensor]:
        """``(B, S)`` samples of -1 to 1, each item its pieces one after the other, zero-padded; and their lengths.

        Resampled by windowed-sinc interpolation. S is a multiple of 0.64 s, as new shapes cost time on some devices.
        """
        counts = [sum(piece.samples for piece in item) for item in items]
        longest = -(-max(counts) // _STEP) * _STEP
        waves = torch.zeros((len(items), longest), device=self.device)
        there = torch.arange(longest, device=self.device) < torch.tensor(counts, device=self.device)[:, None]
        waves[there] = self._play([piece for item in items for piece in item])
        return waves, torch.tensor(counts, device=self.device)

    def _play(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """All pieces, one after the other."""

        def of_each(values: Sequence[float], dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor(values, dtype=dtype, device=self.device).repeat_interleave(samples)

        samples = torch.tensor([piece.samples for piece in pieces], device=self.device)
        before = np.cumsum([0, *(piece.samples for piece in pieces)])
        index = torch.arange(int(before[-1]), device=self.device) - of_each(before[:-1].tolist(), torch.long)
        speed = of_each([piece.speed for piece in pieces], torch.float32)
        position = index * speed
        nearest = position.floor()
        first = of_each([int(self._offsets[p.index]) + p.start for p in pieces], torch.long)
        last = of_each([int(self._offsets[p.index]) + p.end - 1 for p in pieces], torch.long)
        place, offset = first + nearest.long(), position - nearest
        cutoff = (1 / speed).clamp_max(1.0)
        wave = torch.zeros_like(position)
        for tap in range(1 - _TAPS, _TAPS + 1):
            distance = offset - tap
            weight = cutoff * torch.sinc(cutoff * distance) * torch.cos(distance * (math.pi / (2 * _TAPS + 2))) ** 2
            wave += weight * self._samples[torch.minimum(torch.maximum(place + tap, first), last)]
        return wave / 32768

    def distort(self, waves: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
        """Change the level of each wave and, of some, add white or brown-ish noise, which is closer to a room.

        Args:
            waves: ``(B, S)``.
            how: how much.
            rng: decides, together with torch's own generator, which makes the noise.
        """
        noisy = rng.random(len(waves)) < how.noise_probability
        snr = rng.uniform(*how.noise_snr_db, len(waves))
        level = torch.from_numpy(np.where(noisy, 10 ** (-snr / 20), 0).astype(np.float32)).to(self.device)
        level = level * waves.square().mean(dim=1).sqrt()
        noise = torch.randn(waves.shape, device=self.device)
        brown = noise.cumsum(dim=1)
        brown = brown - brown[:, -1:] * torch.linspace(0, 1, waves.shape[1], device=self.device)
        brown = brown / (brown.std(dim=1, keepdim=True) + 1e-9)
        is_brown = torch.from_numpy(rng.random(len(waves)) < 0.5).to(self.device)
        gain = torch.from_numpy(10 ** (rng.uniform(-how.gain_db, how.gain_db, len(waves)) / 20)).float()
        waves = waves + level[:, None] * torch.where(is_brown[:, None], brown, noise)
        return waves * gain.to(self.device)[:, None]

    def log_mel(self, waves: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whisper's features ``(B, 80, M)``, zero beyond each wave's end; and how many frames each has."""
        spectrum = torch.stft(waves, WINDOW, HOP, window=self._window, return_complex=True)[..., :-1]
        mel = (spectrum.abs().square().transpose(1, 2) @ self._filters).transpose(1, 2)
        frames = torch.div(lengths, HOP, rounding_mode="floor")
        there = (torch.arange(mel.shape[2], device=self.device) < frames[:, None])[:, None]
        mel = mel.clamp_min(1e-10).log10()
        highest = mel.masked_fill(~there, -10).amax(dim=(1, 2), keepdim=True)
        mel = (torch.maximum(mel, highest - 8) + 4) / 4
        return mel * there, frames


def mask_features(
    mel: torch.Tensor, frames: Sequence[int], how: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """SpecAugment (Park et al., 2019): bands and stretches replaced by the recording's mean.

    Args:
        mel: ``(B, 80, M)``.
        frames: of each recording that are not padding.
        how: how many, and how large.
        rng: decides.
    """
    batch, bins, longest = mel.shape
    masked = np.zeros((batch, bins, longest), bool)
    for row, length in zip(masked, frames, strict=True):
        for _ in range(how.frequency_masks):
            width = int(rng.integers(0, how.frequency_mask_bins + 1))
            start = int(rng.integers(0, bins - width + 1))
            row[start : start + width, :length] = True
        for _ in range(rng.poisson(how.time_masks_per_second * length * HOP / SAMPLE_RATE)):
            width = int(rng.integers(0, min(how.time_mask_frames, length // 4) + 1))
            start = int(rng.integers(0, length - width + 1))
            row[:, start : start + width] = True
    mean = mel.sum(dim=(1, 2)) / (bins * torch.tensor(frames, device=mel.device))
    return torch.where(torch.from_numpy(masked).to(mel.device), mean[:, None, None], mel)
