"""speechocean762 (Zhang et al., 2021) as this project uses it: its records, its audio, and a split by speaker."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.phonemes import CLASS_IDS, split_stress

SAMPLE_RATE = 16_000
DEV_SPEAKERS = 25
SPLIT_SEED = 762
FOLDS = 5


@dataclass(frozen=True)
class Utterance:
    """One recording with its expert labels.

    Attributes:
        scores: sentence scores 0..10 by the corpus's names (accuracy, completeness, fluency, prosodic, total).
        words: the corpus's word records (text, phones, phone_accuracy 0..2, accuracy, stress, total 0..10).
    """

    utterance: str
    speaker: str
    age: int
    text: str
    scores: dict[str, float]
    words: list[dict[str, Any]]
    audio: Path

    @property
    def phoneme_ids(self) -> list[int]:
        """The canonical phonemes as classes of the acoustic model, stress dropped."""
        return [CLASS_IDS[split_stress(phone)[0]] for word in self.words for phone in word["phones"]]

    @property
    def said_ids(self) -> list[int]:
        """What was said, where that is known because a voice said it; else the canonical phonemes."""
        return [CLASS_IDS[split_stress(phone)[0]] for word in self.words for phone in word.get("said", word["phones"])]

    @property
    def phoneme_scores(self) -> list[float]:
        """The experts' mean for each canonical phoneme, 0..2; NaN where the corpus has none."""
        return [
            float("nan") if score is None else float(score)
            for word in self.words
            for score in (word["phone_accuracy"] or [None] * len(word["phones"]))
        ]


def load_corpus(folder: Path) -> list[Utterance]:
    """Read ``labels.jsonl`` of a data folder; the audio stays on disk.

    Raises:
        FileNotFoundError: the folder has no ``labels.jsonl``.
    """
    kinds = ("accuracy", "completeness", "fluency", "prosodic", "total")
    utterances = []
    suffix = ".ogg" if any((folder / "audio").glob("*.ogg")) else ".flac"
    for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        utterances.append(
            Utterance(
                utterance=record["utterance"],
                speaker=record["speaker"],
                age=record["age"],
                text=record["text"],
                scores={kind: record[kind] for kind in kinds},
                words=record["words"],
                audio=folder / "audio" / f"{record['utterance']}{suffix}",
            )
        )
    return utterances


def split_by_speaker(
    utterances: Iterable[Utterance], dev_speakers: int = DEV_SPEAKERS, seed: int = SPLIT_SEED
) -> tuple[list[Utterance], list[Utterance]]:
    """Split into training and development utterances that share no speaker; children and adults in equal shares.

    The split depends on the seed and the set of speakers alone, not on the order of the utterances.
    """
    utterances = list(utterances)
    ages = {u.speaker: u.age for u in utterances}
    children = sorted(s for s, age in ages.items() if age < 18)
    adults = sorted(s for s, age in ages.items() if age >= 18)
    rng = random.Random(seed)
    rng.shuffle(children)
    rng.shuffle(adults)
    from_children = round(dev_speakers * len(children) / max(1, len(ages)))
    dev = {*children[:from_children], *adults[: dev_speakers - from_children]}
    return [u for u in utterances if u.speaker not in dev], [u for u in utterances if u.speaker in dev]


def fold_of_speakers(utterances: Iterable[Utterance], seed: int = SPLIT_SEED) -> dict[str, int]:
    """The fold, 0 to 4, of each speaker; the speakers of fold 0 are those of :func:`split_by_speaker`.

    Children and adults are spread evenly. The folds depend on the seed and the set of speakers alone.
    """
    utterances = list(utterances)
    folds: dict[str, int] = {}
    rest = utterances
    for fold in range(FOLDS):
        left = len({u.speaker for u in rest})
        rest, held = split_by_speaker(rest, round(left / (FOLDS - fold)), seed)
        folds |= {u.speaker: fold for u in held}
    return folds


def load_audio(utterances: Sequence[Utterance], desc: str = "reading audio") -> list[NDArray[np.int16]]:
    """Read the recordings as 16-bit samples at 16 kHz, to keep the whole corpus in 330 MB.

    Raises:
        ValueError: a recording has another sample rate.
    """
    clips = []
    for utterance in tqdm(utterances, desc=desc, unit="file"):
        samples, rate = soundfile.read(utterance.audio, dtype="int16")
        if rate != SAMPLE_RATE:
            raise ValueError(f"{utterance.audio} has {rate} Hz, not {SAMPLE_RATE}")
        clips.append(samples)
    return clips
