"""Requests that the contract refuses, one of every kind, and clients that hang up; sizes fit the default settings."""

from __future__ import annotations

import base64
import io
import json
import random

import numpy as np
import soundfile

from benchmarks.recordings import VOICE_RATE, Clip, Signal, compose, encode
from benchmarks.requests_mix import JSON, SYNTHESIZE, HangUp, Item, json_body, multipart

_MAX_UPLOAD = 20 * 1024 * 1024  # MAX_UPLOAD_MB
_TOO_LONG_SECONDS = 125  # more than MAX_AUDIO_SECONDS
_TOO_MUCH_TEXT = 12_000  # characters


def bad_requests(sentences: list[Clip], rng: random.Random) -> list[Item]:
    """One request of every kind."""
    return [
        *_bad_audio(sentences, rng),
        *_bad_fields(sentences),
        *_too_large(),
        *_bad_speech(),
        *_impatient(sentences, rng),
        *_impatient_listeners(sentences, rng),
    ]


def _bad_audio(sentences: list[Clip], rng: random.Random) -> list[Item]:
    text = sentences[0].text
    flac = encode(sentences[0].signal, "flac", 16_000)
    mp4 = encode(sentences[1].signal, "mp4-aac", 16_000)
    silence = np.zeros(2 * VOICE_RATE, dtype=np.float32)
    cases = {
        "garbage bytes": (rng.randbytes(60_000), 415),
        "text file": (b"This is no sound at all.\n" * 400, 415),
        "truncated FLAC": (flac[: len(flac) // 2], 415),
        "MP4 without its index": (mp4[: len(mp4) // 2], 415),
        "silence": (encode(silence, "wav", 16_000), 422),
        "0.05 s": (encode(sentences[0].signal[5000:6200], "wav", 16_000), 422),
        "samples that are no numbers": (_not_finite(sentences[0].signal), 422),
        "empty file": (b"", 422),
    }
    return [
        Item(name, multipart(audio, text=text), expected=frozenset((status,)))
        for name, (audio, status) in cases.items()
    ]


def _bad_fields(sentences: list[Clip]) -> list[Item]:
    audio = encode(sentences[1].signal, "flac", 16_000)
    form = {
        "text without words": multipart(audio, text="?! ... --"),
        "empty text": multipart(audio, text="  "),
        "too much text": multipart(audio, text="word " * (_TOO_MUCH_TEXT // 5)),
        "numbers without end": multipart(audio, text="777777777 " * 900),  # 8 readings each
        "no audio": multipart(None, text="We call it bear."),
        "pronunciations that do not fit": multipart(audio, text="We call it bear.", pronunciations='[["P"]]'),
        "pronunciations of no phonemes": multipart(audio, text="bear", pronunciations='[["QQ"]]'),
        "a link without a text": multipart(audio, reference_audio="url"),
        "reference audio of no kind": multipart(audio, text="bear", reference_audio="loud"),
    }
    base64_of_half = base64.b64encode(audio).decode("ascii")[:-3] + "*"
    broken = {
        "broken base64": json.dumps({"audio_base64": base64_of_half}).encode(),
        "broken JSON": json_body(audio)[:-2],
    }
    return [
        *(Item(name, body, expected=frozenset((422,))) for name, body in form.items()),
        *(Item(name, body, JSON, frozenset((400,))) for name, body in broken.items()),
        Item("form that breaks off", multipart(audio)[:-40], expected=frozenset((400,))),
        Item("another content type", audio, "audio/flac", frozenset((400,))),
    ]


def _too_large() -> list[Item]:
    body = multipart(bytes(_MAX_UPLOAD + 1024 * 1024))
    tone = 0.3 * np.sin(0.1 * np.arange(_TOO_LONG_SECONDS * VOICE_RATE, dtype=np.float32))
    refused = frozenset((413,))
    return [
        Item("oversized body", body, expected=refused),
        Item("oversized body of no known size", body, expected=refused, chunked=True),
        Item("JSON of empty lists", b'{"audio_base64": "AAAA", "x": [' + b"[]," * 1_000_000 + b"0]}", JSON, refused),
        Item("recording of 125 s", multipart(encode(tone, "flac", 16_000)), expected=refused),
    ]


def _bad_speech() -> list[Item]:
    fields: dict[str, dict[str, object]] = {
        "speech of nothing": {},
        "speech of no phonemes": {"phonemes": []},
        "speech of an unknown phoneme": {"phonemes": ["S", "QQ", "NG"]},
        "speech of too many phonemes": {"phonemes": ["AA"] * 301},
        "speech of an empty text": {"text": " "},
        "speech of a text without words": {"text": "?! ..."},
        "speech of too much text": {"text": "word " * (_TOO_MUCH_TEXT // 5)},
        "speech longer than a clip may be": {"text": "Nobody expected the weather to change. " * 60},
        "speech of a text and phonemes": {"text": "bear", "phonemes": ["B"]},
        "speech that is too fast": {"text": "bear", "speed": 3},
    }
    refused = [
        Item(name, json.dumps(body).encode(), JSON, frozenset((422,)), path=SYNTHESIZE) for name, body in fields.items()
    ]
    return [
        *refused,
        Item("speech, broken JSON", b'{"text": "We call it', JSON, frozenset((400,)), path=SYNTHESIZE),
        Item("speech, oversized body", b" " * 1024 * 1024, JSON, frozenset((413,)), path=SYNTHESIZE),
        Item("a clip that is not there", b"", "", frozenset((404,)), path=f"/audio/{'0' * 32}", method="GET"),
    ]


def _impatient(sentences: list[Clip], rng: random.Random) -> list[Item]:
    """A client that leaves half-way through its upload, and one that leaves before its answer is there."""
    body = multipart(encode(compose(sentences, 12.0, rng).signal, "wav", 44_100))
    return [
        Item("hangs up while it sends", body, expected=frozenset(), hang_up="sending"),
        Item("hangs up while it waits", body, expected=frozenset(), hang_up="waiting"),
    ]


def _impatient_listeners(sentences: list[Clip], rng: random.Random) -> list[Item]:
    """The same at a long speech, which takes half a second to make, and one that leaves while it is sent."""
    body = json.dumps({"text": compose(sentences, 25.0, rng).text, "speed": 0.5}).encode()

    def leaves(name: str, when: HangUp, patience: float = 0.03) -> Item:
        return Item(name, body, JSON, frozenset(), path=SYNTHESIZE, hang_up=when, patience=patience)

    return [
        leaves("hangs up while it sends a text", "sending"),
        leaves("hangs up while it waits for speech", "waiting"),
        leaves("hangs up while it is spoken to", "waiting", 0.4),
        leaves("hangs up while it listens", "receiving"),
    ]


def _not_finite(signal: Signal) -> bytes:
    broken = signal.copy()
    broken[len(broken) // 2] = np.nan
    file = io.BytesIO()
    soundfile.write(file, broken, VOICE_RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()
