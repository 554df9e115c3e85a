"""The phoneme error rate of a model's greedy decode against the canonical phonemes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm
from transformers import WhisperFeatureExtractor

from app.core.acoustic_model import ElocuteForCTC
from training.acoustic_batches import log_mel
from training.corpus import Utterance


def greedy_classes(best: Sequence[int], blank: int = 0) -> list[int]:
    """Collapse the best class of each frame: repeats to one, blanks to none."""
    return [c for i, c in enumerate(best) if c != blank and (i == 0 or best[i - 1] != c)]


def decode_corpus(model: ElocuteForCTC, clips: Sequence[NDArray[np.int16]]) -> list[list[int]]:
    """Greedy decode of each recording, one by one, in bfloat16."""
    extractor = WhisperFeatureExtractor()
    model.eval()
    decoded = []
    with torch.inference_mode():
        for clip in tqdm(clips, desc="decoding", unit="file", leave=False):
            mel = log_mel(extractor, clip.astype(np.float32) / 32768.0)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(mel[None]).logits[0]
            decoded.append(greedy_classes(logits.argmax(-1).tolist()))
    return decoded


def phoneme_error_rate(utterances: Sequence[Utterance], decoded: Sequence[Sequence[int]]) -> float:
    """Substitutions, deletions and insertions over the number of canonical phonemes, pooled over all utterances."""
    errors = sum(Levenshtein.distance(u.phoneme_ids, d) for u, d in zip(utterances, decoded, strict=True))
    return errors / sum(len(u.phoneme_ids) for u in utterances)
