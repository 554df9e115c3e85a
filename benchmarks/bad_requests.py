"""Requests that the contract refuses, one of every kind, and clients that hang up; sizes fit the default settings."""

from __future__ import annotations

import base64
import io
import json
import random

import numpy as np
import soundfile

from benchmarks.recordings import VOICE_RATE, Clip, Signal, compose, encode
from benchmarks.requests_mix import JSON, Item, json_body, multipart

_MAX_UPLOAD = 20 * 1024 * 1024  # MAX_UPLOAD_MB
_TOO_LONG_SECONDS = 125  # more than MAX_AUDIO_SECONDS
_TOO_MUCH_TEXT = 12_000  # characters


def bad_requests(sentences: list[Clip], rng: random.Random) -> list[Item]:
    """One request of every kind."""
    return [*_bad_audio(sentences, rng), *_bad_fields(sentences), *_too_large(), *_impatient(sentences, rng)]


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
        "a link without a cache": multipart(audio, text="bear", reference_audio="url"),
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


def _impatient(sentences: list[Clip], rng: random.Random) -> list[Item]:
    """A client that leaves half-way through its upload, and one that leaves before its answer is there."""
    body = multipart(encode(compose(sentences, 12.0, rng).signal, "wav", 44_100))
    return [
        Item("hangs up while it sends", body, expected=frozenset(), hang_up="sending"),
        Item("hangs up while it waits", body, expected=frozenset(), hang_up="waiting"),
    ]


def _not_finite(signal: Signal) -> bytes:
    broken = signal.copy()
    broken[len(broken) // 2] = np.nan
    file = io.BytesIO()
    soundfile.write(file, broken, VOICE_RATE, format="WAV", subtype="FLOAT")
    return file.getvalue()
