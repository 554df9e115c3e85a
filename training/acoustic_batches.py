"""Batches for the acoustic model: augmented log-mel features, and targets in which a wrong phoneme is a wildcard."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

from app.core.phonemes import CLASSES
from training.corpus import SAMPLE_RATE, Utterance

WILDCARD = len(CLASSES)
"""The target class of a phoneme that the experts heard as wrong: anything may have been said there."""


@dataclass(frozen=True)
class Augmentation:
    """How training recordings are varied. Speed changes pitch and formants too, as another speaker would."""

    speed: float = 0.12
    noise_probability: float = 0.3
    noise_snr_db: tuple[float, float] = (12.0, 40.0)
    frequency_masks: int = 2
    frequency_mask_bins: int = 18
    time_masks_per_second: float = 0.6
    time_mask_frames: int = 20


@dataclass(frozen=True)
class Batch:
    """``features`` (B, 80, M) zero-padded, ``lengths`` (B,) mel frames, ``targets`` classes of all, concatenated."""

    features: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    target_lengths: torch.Tensor


def log_mel(extractor: WhisperFeatureExtractor, waveform: NDArray[np.float32]) -> torch.Tensor:
    """Whisper's log-mel features (80, M) of one recording, not padded to 30 s."""
    features = extractor(
        waveform, sampling_rate=SAMPLE_RATE, padding="do_not_pad", truncation=False, return_tensors="pt"
    )
    mel: torch.Tensor = features["input_features"][0]
    return mel


def augment_waveform(
    clip: NDArray[np.int16], how: Augmentation | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Scale to -1..1 and, with an augmentation, change the speed and add noise at a random level."""
    wave: NDArray[np.float32] = clip.astype(np.float32) / np.float32(32768)
    if how is None:
        return wave
    speed = rng.uniform(1 - how.speed, 1 + how.speed)
    wave = soxr.resample(wave, SAMPLE_RATE * speed, SAMPLE_RATE, quality="MQ").astype(np.float32)
    if rng.random() < how.noise_probability:
        level = float(np.sqrt(np.mean(wave**2))) * 10 ** (-rng.uniform(*how.noise_snr_db) / 20)
        noise = rng.standard_normal(len(wave))
        if rng.random() < 0.5:  # brown-ish noise, closer to a room than white noise is
            noise = np.cumsum(noise) - np.linspace(0, noise.sum(), len(noise))
            noise /= np.std(noise) + 1e-9
        wave = (wave + level * noise).astype(np.float32)
    return wave


def mask_features(mel: torch.Tensor, how: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """SpecAugment (Park et al., 2019): bands and stretches replaced by the recording's mean."""
    mel = mel.clone()
    mean = mel.mean()
    bins, frames = mel.shape
    for _ in range(how.frequency_masks):
        width = int(rng.integers(0, how.frequency_mask_bins + 1))
        start = int(rng.integers(0, bins - width + 1))
        mel[start : start + width] = mean
    for _ in range(rng.poisson(how.time_masks_per_second * frames / 100)):
        width = int(rng.integers(0, min(how.time_mask_frames, frames // 4) + 1))
        start = int(rng.integers(0, frames - width + 1))
        mel[:, start : start + width] = mean
    return mel


def target_classes(utterance: Utterance, wildcard_below: float) -> list[int]:
    """The canonical classes, with ``WILDCARD`` where the experts' mean (0..2) is below the bound."""
    pairs = zip(utterance.phoneme_ids, utterance.phoneme_scores, strict=True)
    return [WILDCARD if score < wildcard_below else phoneme for phoneme, score in pairs]


def plan_batches(durations: Sequence[float], seconds: float, rng: random.Random) -> list[list[int]]:
    """Group recordings of like length into batches of about ``seconds`` of padded audio, in random order."""
    order = sorted(range(len(durations)), key=lambda i: durations[i] * rng.uniform(0.9, 1.1))
    batches: list[list[int]] = [[]]
    for index in order:
        longest = max((durations[i] for i in [*batches[-1], index]), default=0.0)
        if batches[-1] and longest * (len(batches[-1]) + 1) > seconds:
            batches.append([])
        batches[-1].append(index)
    rng.shuffle(batches)
    return batches


def join_items(durations: Sequence[float], longest: float, rng: random.Random) -> list[list[int]]:
    """Half of the recordings alone, the others joined to random lengths up to ``longest`` seconds; 0 joins none.

    A model that has seen only short recordings loses its way in long ones.
    """
    order = list(range(len(durations)))
    rng.shuffle(order)
    if not longest:
        return [[i] for i in order]
    items: list[list[int]] = []
    room = 0.0
    for i in order:
        if durations[i] <= room:
            items[-1].append(i)
            room -= durations[i]
        else:
            items.append([i])
            room = 0.0 if rng.random() < 0.5 else rng.uniform(0.0, longest) - durations[i]
    return items


def make_batches(  # noqa: PLR0913
    utterances: Sequence[Utterance],
    clips: Sequence[NDArray[np.int16]],
    extractor: WhisperFeatureExtractor,
    *,
    seconds: float,
    seed: int,
    augmentation: Augmentation | None,
    wildcard_below: float = 0.0,
    join_seconds: float = 0.0,
) -> Iterator[Batch]:
    """One epoch of batches; the same seed gives the same epoch."""
    rng = np.random.default_rng(seed)
    shuffle = random.Random(seed)
    durations = [len(c) / SAMPLE_RATE for c in clips]
    items = join_items(durations, join_seconds, shuffle)
    for chosen in plan_batches([sum(durations[i] for i in item) for item in items], seconds, shuffle):
        mels, targets = [], []
        for item in (items[i] for i in chosen):
            mel = log_mel(extractor, np.concatenate([augment_waveform(clips[i], augmentation, rng) for i in item]))
            mels.append(mask_features(mel, augmentation, rng) if augmentation else mel)
            targets.append([t for i in item for t in target_classes(utterances[i], wildcard_below)])
        lengths = torch.tensor([mel.shape[1] for mel in mels])
        features = torch.zeros(len(mels), mels[0].shape[0], int(lengths.max()))
        for row, mel in enumerate(mels):
            features[row, :, : mel.shape[1]] = mel
        yield Batch(
            features=features,
            lengths=lengths,
            targets=torch.tensor([t for target in targets for t in target]),
            target_lengths=torch.tensor([len(target) for target in targets]),
        )


def wildcard_ctc_loss(
    log_probs: torch.Tensor, lengths: torch.Tensor, batch: Batch, weight: float = 0.5
) -> torch.Tensor:
    """CTC (Graves et al., 2006) in which ``WILDCARD`` targets match any frames, as in Star-CTC (Pratap et al., 2022).

    The wildcard is one more class whose probability is the constant ``weight / (1 + weight)`` in every frame, the 40
    others sharing the rest, so that the classes still sum to one as ``ctc_loss`` demands.

    Args:
        log_probs: ``(B, T, 40)`` log-posteriors.
        lengths: ``(B,)`` frames of each recording.
        batch: the targets.
        weight: of the wildcard against all other classes together.

    Returns:
        The mean over the recordings of each one's loss per phoneme; recordings too short for their text count 0.
    """
    total = math.log1p(weight)
    star = torch.full_like(log_probs[..., :1], math.log(weight) - total)
    losses = torch.nn.functional.ctc_loss(
        torch.cat([log_probs - total, star], dim=-1).transpose(0, 1),
        batch.targets,
        lengths,
        batch.target_lengths,
        zero_infinity=True,
        reduction="none",
    )
    losses = losses - total * lengths  # the constant share of the wildcard, so that figures compare with plain CTC
    return (losses.clamp_min(0) / batch.target_lengths).mean()
