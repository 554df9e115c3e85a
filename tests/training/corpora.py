"""A corpus in the layout of the real one, which the tests' voice speaks, and a Whisper of no size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import soundfile
import torch
from transformers import WhisperConfig, WhisperModel

from app.core.lexicon import Lexicon
from tests.voice import RATE, say
from training.corpus import Utterance

TEXTS = (
    "we call it bear",
    "she sells apples",
    "turn right here",
    "my brother works",
    "green leaves",
    "a good day",
)


def make_corpus(folder: Path, recordings: int = 2) -> Path:
    """A corpus of six speakers, each with so many recordings, whose scores differ."""
    (folder / "audio").mkdir(parents=True)
    lexicon, lines = Lexicon(), []
    for number in range(recordings * len(TEXTS)):
        speaker, text = number // recordings, TEXTS[(number + number // len(TEXTS)) % len(TEXTS)]
        words = [make_word(lexicon, word, number + place) for place, word in enumerate(text.split())]
        score = 5.0 + number % 5
        scores = {"accuracy": score, "completeness": 10.0, "fluency": 14 - score, "prosodic": score, "total": score}
        head = {"utterance": f"{number:05d}", "speaker": str(speaker), "age": 8 + 4 * speaker, "text": text.upper()}
        lines.append(json.dumps({**head, **scores, "words": words}))
        soundfile.write(folder / "audio" / f"{number:05d}.flac", say(text), RATE)
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_word(lexicon: Lexicon, text: str, number: int) -> dict[str, Any]:
    """A word's record, its last phoneme mispronounced."""
    said = lexicon.words(text)[0].pronunciations[0]
    phones = [p + ("" if s is None else str(s)) for p, s in zip(said.phonemes, said.stresses, strict=True)]
    accuracies = [2.0] * (len(phones) - 1) + [0.2]
    scores = {"accuracy": 6.0 + number % 4, "stress": 5.0 + 5 * (number % 2), "total": 6.0 + number % 4}
    return {"text": text.upper(), "phones": phones, "phone_accuracy": accuracies, **scores}


def make_utterance(*words: list[str], scores: list[float] | None = None, said: list[str] | None = None) -> Utterance:
    """One recording, without audio: the phonemes of its words, the scores of each word's phonemes, what was said."""
    records = []
    for phones in words:
        accuracy = scores if scores is not None else [2.0] * len(phones)
        record = {"text": "x", "phones": phones, "phone_accuracy": accuracy, "accuracy": 9.0, "stress": 10.0}
        records.append(record | {"total": 8.0} | ({"said": said} if said is not None else {}))
    whole = {"accuracy": 9.0, "completeness": 10.0, "fluency": 8.0, "prosodic": 7.0, "total": 6.0}
    return Utterance("u", "s", 9, "x", whole, records, Path("none.flac"))


def make_whisper(folder: Path) -> Path:
    """A Whisper with random weights."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=64, pad_token_id=0, bos_token_id=0, eos_token_id=0,
        decoder_start_token_id=0, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    return folder
