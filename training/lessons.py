"""The batches of an epoch: recordings cut, joined and distorted, with the texts that the head is to read."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.core.pitch import PitchContour, pitch_of_frames
from training.clip_bank import Augmentation, ClipBank, Piece, mask_features
from training.corpus import SAMPLE_RATE, Utterance
from training.losses import WILDCARD
from training.readings import Reading, WrongTexts, make_wrong, part_of, reading_of, without_stress

FRAME_SECONDS = 0.02
WORD_MARGIN = int(0.1 * SAMPLE_RATE)


@dataclass(frozen=True)
class Material:
    """What is trained on.

    Attributes:
        utterances: the recordings.
        bank: their samples.
        pitch: their contours.
        spans: ``(W, 2)`` first and last sample of each word, by recording; empty until they are known.
    """

    utterances: Sequence[Utterance]
    bank: ClipBank
    pitch: Sequence[PitchContour]
    spans: dict[int, NDArray[np.int64]]


@dataclass(frozen=True)
class Plan:
    """How an epoch is made up.

    Attributes:
        batch_seconds: padded audio in a batch.
        join_share: of the items, those that are joined from several recordings.
        join_seconds: how long those are at most.
        cut_share: of the recordings, those of which only some words are taken, once it is known where they are.
        unstressed_share: of the texts, those whose stress is not told, as a caller may leave it out.
        wildcard_below: the experts' mean, 0 to 2, below which a phoneme may be anything to CTC.
        augmentation: None for the recordings as they are.
        wrong_texts: None for the right ones.
    """

    batch_seconds: float = 96.0
    join_share: float = 0.25
    join_seconds: float = 16.0
    cut_share: float = 0.1
    unstressed_share: float = 0.05
    wildcard_below: float = 0.5
    augmentation: Augmentation | None = None
    wrong_texts: WrongTexts | None = None


@dataclass(frozen=True)
class Lesson:
    """A batch of ``B`` items, each of one or more recordings.

    Attributes:
        mel: ``(B, 80, M)``, masked where it is augmented.
        mel_frames: ``(B,)`` frames of each item.
        energy: ``(B, T)`` the mean of the bands, before masking.
        pitch: of each item ``(T, 2)``.
        targets: classes of all items for CTC, concatenated.
        target_lengths: ``(B,)``.
        readings: of all recordings, in order.
        item_of: the item of each reading.
    """

    mel: torch.Tensor
    mel_frames: torch.Tensor
    energy: torch.Tensor
    pitch: list[NDArray[np.float32]]
    targets: torch.Tensor
    target_lengths: torch.Tensor
    readings: list[Reading]
    item_of: list[int]

    @property
    def frames(self) -> list[int]:
        """The encoder's frames of each item."""
        return [len(pitch) for pitch in self.pitch]

    def labels(self) -> list[list[int]]:
        """The classes of each item's texts."""
        labels: list[list[int]] = [[] for _ in self.pitch]
        for reading, item in zip(self.readings, self.item_of, strict=True):
            labels[item] += [phoneme + 1 for phoneme in reading.phonemes]
        return labels


@dataclass(frozen=True)
class _Part:
    """A stretch of a recording, the classes that CTC is to find in it, and the text that the head is to read."""

    piece: Piece
    classes: list[int]
    reading: Reading


def epoch(material: Material, plan: Plan, seed: int) -> Iterator[Lesson]:
    """The lessons of one epoch; the same seed gives the same ones on the same device.

    It seeds torch's own generator, which makes the noise.
    """
    rng, chooser = np.random.default_rng(seed), random.Random(seed)
    torch.manual_seed(seed)
    readings = [reading_of(utterance) for utterance in material.utterances]
    parts = [_part(material, i, readings, plan, chooser) for i in range(len(readings))]
    chooser.shuffle(parts)
    items = _join(parts, plan, chooser)
    durations = [sum(part.piece.samples for part in item) / SAMPLE_RATE for item in items]
    for chosen in plan_batches(durations, plan.batch_seconds, chooser):
        yield make_lesson(material, [items[i] for i in chosen], plan, rng)


def in_order(material: Material, batch_seconds: float = 120.0) -> Iterator[tuple[list[int], Lesson]]:
    """Every recording as it is, in batches of like length, with its number."""
    plan = Plan()
    durations = [length / SAMPLE_RATE for length in material.bank.lengths]
    for chosen in plan_batches(durations, batch_seconds, None):
        parts = [
            [_Part(_whole(material, i), material.utterances[i].said_ids, reading_of(material.utterances[i]))]
            for i in chosen
        ]
        yield chosen, make_lesson(material, parts, plan, np.random.default_rng(0))


def plan_batches(durations: Sequence[float], seconds: float, rng: random.Random | None) -> list[list[int]]:
    """Group recordings of like length into batches.

    Args:
        durations: in seconds.
        seconds: of padded audio in a batch at most, unless one recording alone is longer.
        rng: shuffles the batches, and a little what is in them; None for the shortest first.

    Returns:
        For each batch numbers of recordings.
    """
    order = sorted(range(len(durations)), key=lambda i: durations[i] * (rng.uniform(0.9, 1.1) if rng else 1.0))
    batches: list[list[int]] = [[]]
    longest = 0.0
    for index in order:
        longest = max(longest, durations[index])
        if batches[-1] and longest * (len(batches[-1]) + 1) > seconds:
            batches.append([])
            longest = durations[index]
        batches[-1].append(index)
    if rng:
        rng.shuffle(batches)
    return batches


def _whole(material: Material, index: int, speed: float = 1.0) -> Piece:
    return Piece(index, 0, material.bank.lengths[index], speed)


def _part(material: Material, index: int, readings: Sequence[Reading], plan: Plan, rng: random.Random) -> _Part:
    """A recording or some words of it, at some speed, with a right or a wrong text."""
    utterance, reading = material.utterances[index], readings[index]
    how = plan.augmentation
    speed = rng.uniform(1 - how.speed, 1 + how.speed) if how else 1.0
    piece, words = _whole(material, index, speed), utterance.words
    classes = utterance.said_ids
    spans = material.spans.get(index)
    if spans is not None and len(words) > 1 and rng.random() < plan.cut_share:
        count = rng.randint(1, min(3, len(words) - 1))
        first = rng.randrange(len(words) - count + 1)
        piece = _cut(piece, spans, first, first + count)
        classes = classes[sum(_sizes(utterance)[:first]) : sum(_sizes(utterance)[: first + count])]
        reading = part_of(reading, first, first + count)
    scores = [score for word in reading.words for score in word.scores]
    if len(scores) == len(classes):  # not where a voice left out a phoneme or put one in
        bound = plan.wildcard_below / 2
        known = utterance.said_ids != utterance.phoneme_ids  # a voice: what was said is certain
        classes = [c if known or not s < bound else WILDCARD for c, s in zip(classes, scores, strict=True)]
    if plan.augmentation and rng.random() < plan.unstressed_share:
        reading = without_stress(reading)
    if plan.wrong_texts:
        reading = make_wrong(reading, readings, plan.wrong_texts, rng)
    return _Part(piece, classes, reading)


def _sizes(utterance: Utterance) -> list[int]:
    """How many phonemes were said of each word."""
    return [len(word.get("said", word["phones"])) for word in utterance.words]


def _cut(piece: Piece, spans: NDArray[np.int64], first: int, last: int) -> Piece:
    """From a little before the first word to a little after the last, but not into their neighbours."""
    lowest = int(spans[first - 1, 1]) if first else 0
    highest = int(spans[last, 0]) if last < len(spans) else piece.end
    start = max(lowest, int(spans[first, 0]) - WORD_MARGIN)
    end = min(highest, int(spans[last - 1, 1]) + WORD_MARGIN)
    return Piece(piece.index, start, max(end, start + 2 * WORD_MARGIN), piece.speed)


def _join(parts: Sequence[_Part], plan: Plan, rng: random.Random) -> list[list[_Part]]:
    """Some recordings one after the other: a model that has heard only short ones loses its way in long ones."""
    items: list[list[_Part]] = []
    room = 0.0
    for part in parts:
        seconds = part.piece.samples / SAMPLE_RATE
        if seconds <= room:
            items[-1].append(part)
            room -= seconds
        else:
            items.append([part])
            room = plan.join_seconds - seconds if rng.random() < plan.join_share else 0.0
    return items


def make_lesson(material: Material, items: Sequence[Sequence[_Part]], plan: Plan, rng: np.random.Generator) -> Lesson:
    """Play the parts of each item and put their texts beside them.

    Args:
        material: the recordings.
        items: what each item of the batch is made of, in order.
        plan: with the augmentation.
        rng: decides about it.
    """
    waves, lengths = material.bank.waves([[part.piece for part in item] for item in items])
    if plan.augmentation:
        waves = material.bank.distort(waves, plan.augmentation, rng)
    mel, mel_frames = material.bank.log_mel(waves, lengths)
    counts = mel_frames.tolist()
    pairs = torch.nn.functional.pad(mel.mean(dim=1), (0, mel.shape[2] % 2)).unflatten(1, (-1, 2))
    pitch = [_pitch(material, item, (count + 1) // 2) for item, count in zip(items, counts, strict=True)]
    if plan.augmentation:
        mel = mask_features(mel, counts, plan.augmentation, rng)
    classes = [[c for part in item for c in part.classes] for item in items]
    device = material.bank.device
    return Lesson(
        mel=mel,
        mel_frames=mel_frames,
        energy=pairs.mean(dim=2),
        pitch=pitch,
        targets=torch.tensor([c for row in classes for c in row], device=device),
        target_lengths=torch.tensor([len(row) for row in classes], device=device),
        readings=[part.reading for item in items for part in item],
        item_of=[i for i, item in enumerate(items) for _ in item],
    )


def _pitch(material: Material, item: Sequence[_Part], frames: int) -> NDArray[np.float32]:
    """The pitch of an item's frames, each recording's about its own median."""
    total = np.zeros((frames, 2), np.float32)
    at = 0.0
    for piece in (part.piece for part in item):
        contour = material.pitch[piece.index]
        within = (contour.times >= piece.start / SAMPLE_RATE) & (contour.times < piece.end / SAMPLE_RATE)
        times = (contour.times[within] - piece.start / SAMPLE_RATE) / piece.speed + at
        total += pitch_of_frames(PitchContour(times, contour.hz[within]), frames, FRAME_SECONDS)
        at += piece.samples / SAMPLE_RATE
    return total
