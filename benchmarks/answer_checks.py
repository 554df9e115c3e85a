"""Whether an answer is one that its request should get."""

from __future__ import annotations

import base64
import io
import json
import wave
from typing import Any

import numpy as np

from benchmarks.recordings import VOICE_RATE
from benchmarks.requests_mix import SYNTHESIZE, Item

PART_BYTES = 4096
"""Of a clip, where only its beginning is asked for."""

_LEAST_PEAK = 1000  # of 32768: the voice is loud, but silence is a WAV file, too
_SHORT_OF_MEMORY = "short of memory"


def complain(item: Item, status: int, retry_after: str | None, content: bytes) -> str:
    """What is wrong with an answer, or nothing."""
    if status == 503:
        return "" if retry_after and retry_after.isdigit() and int(retry_after) > 0 else "503 without Retry-After"
    if status not in item.expected:
        expected = " or ".join(map(str, sorted(item.expected)))
        return f"{status} instead of {expected}: {content[:300].decode(errors='replace')}"
    if status == 200 and item.path == SYNTHESIZE:
        return complain_of_speech(content, item.seconds)
    try:
        body = json.loads(content)
    except ValueError:
        return f"{status} with a body that is no JSON"
    return _complain_of_analysis(item, body) if status == 200 else ""


def complain_of_clip(item: Item, status: int, content_range: str | None, content: bytes) -> str:
    """What is wrong with the clip that an answer leads to, or with its beginning, or nothing."""
    expected = 206 if item.reference == "range" else 200
    if status != expected:
        return f"its clip: {status} instead of {expected}: {content[:300].decode(errors='replace')}"
    if status == 200:
        return complain_of_speech(content, item.seconds)
    size = 8 + int.from_bytes(content[4:8], "little")  # as the file itself has it
    right = f"bytes 0-{PART_BYTES - 1}/{size}"
    if not content.startswith(b"RIFF") or len(content) != PART_BYTES or content_range != right:
        return f"its clip: {len(content)} bytes that begin {content[:4]!r} as {content_range} instead of {right}"
    return ""


def complain_of_speech(content: bytes, seconds: float | None) -> str:
    """What is wrong with a spoken clip, or nothing.

    Args:
        content: that should be a WAV file.
        seconds: about how long it should be; the beginning and the end of a short one are longer than itself.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            shape = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            announced = file.getnframes()
            frames = file.readframes(announced)
    except (wave.Error, EOFError) as error:
        return f"a clip that is no WAV file: {error!r}, {content[:30]!r}"
    if shape != (1, 16, VOICE_RATE):
        return f"a clip of {shape[0]} channels, {shape[1]} bits, {shape[2]} Hz"
    if len(frames) != 2 * announced:
        return f"a clip of {len(frames)} bytes that says it has {2 * announced}"
    length = announced / VOICE_RATE
    if seconds is not None and not 0.4 * seconds <= length <= 1.6 * seconds + 3:
        return f"a clip of {length:.2f} s, where about {seconds:.2f} s were expected"
    if not announced or np.abs(np.frombuffer(frames, "<i2").astype(np.int32)).max() < _LEAST_PEAK:
        return "a silent clip"
    return ""


def link_to_clip(item: Item, status: int, content: bytes) -> str | None:
    """The path of the clip that a right answer leads to; None where there is none."""
    if status != 200 or item.reference not in ("whole", "range"):
        return None
    reference = json.loads(content)["reference_audio"]
    return None if reference is None else str(reference["url"])


def _complain_of_analysis(item: Item, body: dict[str, Any]) -> str:
    if body["mode"] != item.mode or bool(body["words"]) != (item.mode == "scripted"):
        return f"an answer that does not fit the request: mode {body['mode']}, {len(body['words'])} words"
    return _complain_of_reference(item, body)


def _complain_of_reference(item: Item, body: dict[str, Any]) -> str:
    reference = body.get("reference_audio")
    if item.reference is None:
        return "" if reference is None else "a clip that nobody asked for"
    if reference is None:  # an analysis loses its clip where memory is short, as a request gets its 503
        warnings = " ".join(body["warnings"])
        return "" if _SHORT_OF_MEMORY in warnings else f"no clip: {warnings or 'and no warning'}"
    if item.reference == "inline":
        return complain_of_speech(base64.b64decode(reference["base64"]), item.seconds)
    return "" if reference["url"].startswith("/audio/") else f"a link to {reference['url']!r}"
