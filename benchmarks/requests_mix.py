"""What a soak sends: recordings and texts of many lengths, good and bad, from clients that stay and that leave."""

from __future__ import annotations

import base64
import itertools
import json
import math
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.recordings import ENCODINGS, Clip, compose, encode, some_phonemes, speak

ANALYZE, SYNTHESIZE = "/analyze", "/synthesize"
BAD_SHARE = 0.1
SPEECH_SHARE = 0.1
"""How many of all requests want nothing but speech."""
BOUNDARY = "elocute-soak-boundary"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"

HangUp = Literal["sending", "waiting", "receiving"]
Reference = Literal["inline", "whole", "range"]

_MIN_SECONDS = 0.3
_LONG_SHARE = 0.15  # beyond what the log-uniform lengths have: evenly from a quarter of the longest on
_LONGEST_SPEECH = 60.0  # well below MAX_AUDIO_SECONDS, which an estimate of the length has to keep
_SPEEDS = (0.5, 0.75, 1.0, 1.0, 1.5, 2.0)
_REFERENCES: tuple[Reference | None, ...] = ("inline", "whole", "range", *(None,) * 7, "inline", *(None,) * 9)
"""What scripted analyses want, one after the other: a tenth a clip, and another tenth a link to one."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request, ready to be sent.

    Attributes:
        kind: what it is, for the report.
        body: all of it.
        content_type: of the body.
        expected: statuses that are right; 503 with ``Retry-After`` always is. Empty where the client hangs up.
        mode: of the answer, None where there is none.
        hang_up: when the client leaves, None where it waits for the answer.
        chunked: send the body without saying how long it is.
        path: where it goes.
        method: POST, or GET without a body.
        seconds: about how long the clip is that the answer has or leads to, if it does.
        reference: how an analysis answers with a clip: inline, or by a link, which is followed for all of it or a part.
        patience: seconds from the last byte that is sent until the client hangs up.
    """

    kind: str
    body: bytes
    content_type: str = MULTIPART
    expected: frozenset[int] = frozenset((200,))
    mode: Literal["scripted", "unscripted"] | None = None
    hang_up: HangUp | None = None
    chunked: bool = False
    path: str = ANALYZE
    method: Literal["GET", "POST"] = "POST"
    seconds: float | None = None
    reference: Reference | None = None
    patience: float = 0.03


class Mix:
    """Draws requests, the same ones in the same order for the same seed; safe from any thread.

    Args:
        good: each drawn once before any comes again, in an order that is shuffled anew every time: were they drawn
            freely, a run of long ones at its end would look like growth.
        bad: drawn in turn, in an order that is shuffled once, so that every kind comes up.
        seed: of the draw.
        share: how many of all requests are bad ones.
    """

    def __init__(self, good: list[Item], bad: list[Item], seed: int, share: float) -> None:
        self._good = good
        self._deck: list[Item] = []
        self._share = share
        self._rng = random.Random(seed)
        shuffled = self._rng.sample(bad, len(bad))
        self._bad: Iterator[Item] = itertools.cycle(shuffled)
        self._lock = threading.Lock()

    def draw(self) -> Item:
        """The next request."""
        with self._lock:
            if self._rng.random() < self._share:
                return next(self._bad)
            self._deck = self._deck or self._rng.sample(self._good, len(self._good))
            return self._deck.pop()


def make_mix(count: int, max_seconds: float, seed: int, bad_share: float = BAD_SHARE, *, speech: bool = True) -> Mix:
    """Make the pool of bodies, which takes some seconds, and a mix that draws from it.

    Args:
        count: different good requests.
        max_seconds: length of the longest recording.
        seed: of lengths, formats, texts and the draw.
        bad_share: how many of all requests are bad ones.
        speech: whether some want speech, by itself or beside an analysis.
    """
    from benchmarks.bad_requests import bad_requests

    rng = random.Random(seed)
    sentences = speak()
    spoken = round(count * SPEECH_SHARE / max(1 - bad_share, SPEECH_SHARE)) if speech else 0
    references = itertools.cycle(_REFERENCES if speech else (None,))
    good = [
        _analysis(compose(sentences, seconds, rng), references, rng)
        for seconds in _lengths(count - spoken, max_seconds, rng)
    ]
    lengths = _lengths(spoken, min(max_seconds, _LONGEST_SPEECH), rng)
    good += [_speech(sentences, seconds, rng, bare=number % 3 == 1) for number, seconds in enumerate(lengths)]
    bad = [item for item in bad_requests(sentences, rng) if speech or item.path == ANALYZE]
    return Mix(good, bad, seed, bad_share)


def multipart(audio: bytes | None, filename: str = "recording", **fields: str) -> bytes:
    """A form with a file part, where there is a recording, and other fields."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if audio is not None:
        disposition = f'Content-Disposition: form-data; name="audio"; filename="{filename}"'
        parts.append(f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode())
        parts += [audio, b"\r\n"]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def json_body(audio: bytes, **fields: object) -> bytes:
    """The same as JSON with base64."""
    return json.dumps({"audio_base64": base64.b64encode(audio).decode("ascii"), **fields}).encode()


def _lengths(count: int, longest: float, rng: random.Random) -> list[float]:
    """Seconds: many short ones, a fair share of long ones, and both extremes."""
    shortest = min(_MIN_SECONDS, longest)
    lengths = [shortest, longest][:count]
    while len(lengths) < count:
        if rng.random() < _LONG_SHARE:
            lengths.append(rng.uniform(longest / 4, longest))
        else:
            lengths.append(math.exp(rng.uniform(math.log(shortest), math.log(longest))))
    return lengths


def _analysis(clip: Clip, references: Iterator[Reference | None], rng: random.Random) -> Item:
    name = rng.choice(list(ENCODINGS))
    rate = rng.choice(ENCODINGS[name].rates)
    audio = encode(clip.signal, name, rate, stereo=rng.random() < 0.25)
    fields: dict[str, object] = {}
    reference: Reference | None = None
    if rng.random() < 0.7:
        fields["text"] = clip.text
        if rng.random() < 0.25:
            words: list[list[str] | None] = [None] * len(clip.text.split())
            words[rng.randrange(len(words))] = ["L", "AY1", "T"]
            fields["pronunciations"] = words
        if reference := next(references):
            fields["reference_audio"] = "inline" if reference == "inline" else "url"
    how = "json" if rng.random() < 0.3 else "multipart"
    if how == "json":
        body, content_type = json_body(audio, **fields), JSON
    else:
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in fields.items()}
        body, content_type = multipart(audio, **texts), MULTIPART
    mode: Literal["scripted", "unscripted"] = "scripted" if "text" in fields else "unscripted"
    kind = f"{name} {how}" + (f", clip {reference}" if reference else "")
    return Item(kind, body, content_type, mode=mode, reference=reference, seconds=clip.seconds if reference else None)


def _speech(sentences: list[Clip], seconds: float, rng: random.Random, *, bare: bool) -> Item:
    """A text, or bare phonemes, that take about so long to say."""
    speed = rng.choice(_SPEEDS)
    fields: dict[str, object] = {} if speed == 1 else {"speed": speed}
    if bare:
        fields["phonemes"], seconds = some_phonemes(seconds * speed, rng)
        seconds /= speed
    else:
        fields["text"] = compose(sentences, seconds * speed, rng).text
    kind = "speech of phonemes" if bare else "speech of a text"
    return Item(kind, json.dumps(fields).encode(), JSON, path=SYNTHESIZE, seconds=seconds)
