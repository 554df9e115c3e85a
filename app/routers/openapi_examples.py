"""The OpenAPI descriptions of ``/analyze`` and ``/synthesize``: what they take, and an example of every answer."""

from __future__ import annotations

from typing import Any

from app.core import errors
from app.routers import problems

REQUEST_ID = "0197c4e5a1b27c3d9e8f001122334455"

_TEXT = {
    "type": "string",
    "description": "The sentence the speaker meant to read; left out for an unscripted analysis.",
    "example": "we call it bear",
}
_REFERENCE_AUDIO = {
    "type": "string",
    "enum": ["none", "inline", "url"],
    "default": "none",
    "description": "Whether to speak `text` back: base64 in the answer, or a link (which needs `ENABLE_AUDIO_CACHE`).",
}
_PRONUNCIATIONS = (
    "One entry per word of `text`: null to look it up, or a list of ARPAbet phonemes, stress digit optional"
)

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["audio"],
                "properties": {
                    "audio": {
                        "type": "string",
                        "format": "binary",
                        "description": "The recording: WAV, FLAC, OGG, MP3, WebM/Opus or MP4/M4A/AAC.",
                    },
                    "text": _TEXT,
                    "pronunciations": {
                        "type": "string",
                        "description": f"{_PRONUNCIATIONS}; as JSON.",
                        "example": '[null, null, null, ["B", "EH1", "R"]]',
                    },
                    "reference_audio": _REFERENCE_AUDIO,
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["audio_base64"],
                "properties": {
                    "audio_base64": {
                        "type": "string",
                        "format": "byte",
                        "description": "The same recording, base64.",
                    },
                    "text": _TEXT,
                    "pronunciations": {
                        "type": "array",
                        "items": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
                        "description": f"{_PRONUNCIATIONS}.",
                    },
                    "reference_audio": _REFERENCE_AUDIO,
                },
            },
            "example": {
                "audio_base64": "UklGRiQAAABXQVZFZm10IBAAAAABAAEA…",
                "text": "we call it bear",
                "pronunciations": [None, None, None, ["B", "EH1", "R"]],
            },
        },
    },
}

ANALYSIS: dict[str, Any] = {
    "request_id": REQUEST_ID,
    "mode": "scripted",
    "language": "en-us",
    "text": "we call it bear",
    "audio": {
        "duration": 2.58,
        "sample_rate": 16000,
        "channels": 1,
        "format": "WAV",
        "speech_duration": 1.93,
        "snr_db": 23.1,
        "clipping_ratio": 0.0,
        "url": "/audio/5c0f3a52e1d94f0c8b1e6a7d2f9c4b38",
    },
    "scores": {"pronunciation": 77.2, "accuracy": 80.0, "fluency": 87.5, "completeness": 93.8, "prosody": 85.0},
    "words": [
        {
            "word": "bear",
            "start": 1.42,
            "end": 1.83,
            "error_type": "mispronunciation",
            "scores": {"accuracy": 56.0, "stress": 100.0, "total": 64.0},
            "phonemes": [
                {
                    "phoneme": "EH",
                    "stress": 1,
                    "ipa": "ɛ",
                    "start": 1.51,
                    "end": 1.66,
                    "score": 50.0,
                    "heard": [
                        {"phoneme": "IH", "probability": 0.61},
                        {"phoneme": "EH", "probability": 0.22},
                        {"phoneme": "AE", "probability": 0.09},
                    ],
                }
            ],
            "heard_phonemes": ["B", "IH", "R"],
        }
    ],
    "phonemes": [{"phoneme": "W", "ipa": "w", "start": 0.31, "end": 0.38, "probability": 0.97}],
    "fluency": {
        "words_per_minute": 124.0,
        "articulation_rate": 4.1,
        "phonation_ratio": 0.75,
        "pauses": [{"start": 0.71, "end": 1.02}],
    },
    "pitch": {"median_hz": 212.0, "range_semitones": 7.4, "contour": [{"time": 0.3, "hz": 208.1}]},
    "reference_audio": {"format": "wav", "sample_rate": 24000, "url": "/audio/9be1d7c04a6f4e2f8d3b5a1c7e0f6d24"},
    "models": {"phoneme": "elocute-base-int8", "tts": "hibari-heart"},
    "timings_ms": {"decode": 3.1, "acoustic": 61.0, "scoring": 4.2, "tts": 14.8, "total": 83.1},
    "warnings": [],
}
"""An answer, shortened to one word and one phoneme."""

_PROBLEMS: tuple[tuple[errors.ElocuteError, str], ...] = (
    (
        errors.MalformedRequest("audio_base64 is no valid base64.", field="audio_base64"),
        "Neither multipart nor JSON, broken, or a field is there twice",
    ),
    (
        errors.Unauthorized("Send the API key as Authorization: Bearer or as X-API-Key."),
        "An API key is configured, and missing or wrong",
    ),
    (
        errors.TooLarge("The recording has 31457280 bytes, more than the limit of 20 MB.", field="audio"),
        "More bytes or longer audio than the limits allow",
    ),
    (
        errors.UnsupportedAudio("The bytes are no audio that we decode.", field="audio"),
        "Bytes that are no audio we decode",
    ),
    (
        errors.InvalidInput("audio is missing: send the recording as a file part of this name.", field="audio"),
        "A field is missing or invalid; the audio is silent, too short or not finite; the text has no word; "
        "`pronunciations` do not fit the text",
    ),
    (
        errors.ServiceBusy("All places in the queue are taken; please try again later.", retry_after=4),
        "The queue is full, memory is short, or the service is starting or draining",
    ),
    (errors.AnalysisTimeout("The work was not through after 60 s."), "The analysis outran its time limit"),
)


def _answer(error: errors.ElocuteError, description: str) -> dict[str, Any]:
    example = problems.of(error, REQUEST_ID).model_dump(exclude_none=True)
    content = {"schema": problems.Problem.model_json_schema(), "example": example}
    answer: dict[str, Any] = {"description": description, "content": {problems.MEDIA_TYPE: content}}
    if isinstance(error, errors.ServiceBusy):
        retry = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}}
        answer["headers"] = {"Retry-After": retry}
    return answer


UNAUTHORIZED = _answer(*_PROBLEMS[1])

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "What was heard", "content": {"application/json": {"example": ANALYSIS}}},
    **{problems.status_of(type(error)): _answer(error, description) for error, description in _PROBLEMS},
}
"""For FastAPI's ``responses``: every status that the route answers with."""

_SPEECH_PROBLEMS: tuple[tuple[errors.ElocuteError, str], ...] = (
    (errors.MalformedRequest("The body is no valid JSON."), "No JSON object"),
    _PROBLEMS[1],
    (errors.TooLarge("The request has more than 262144 bytes."), "More bytes than there can be to say"),
    (
        errors.InvalidInput(
            "The phonemes cannot be said: 'QQ' is not one of the 39 ARPAbet phonemes.", field="phonemes"
        ),
        "A field is missing or invalid; the text has no word, or takes too long to say",
    ),
    *_PROBLEMS[5:],
)

SPEECH_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A WAV file", "content": {"audio/wav": {"schema": {"type": "string", "format": "binary"}}}},
    **{problems.status_of(type(error)): _answer(error, description) for error, description in _SPEECH_PROBLEMS},
}
"""The same for ``/synthesize``."""


def speech_body(schema: dict[str, Any]) -> dict[str, Any]:
    """The request body of ``/synthesize``, with examples."""
    examples = {
        "a sentence": {"value": {"text": "Please turn right at the next corner.", "speed": 0.8}},
        "what was heard": {"value": {"phonemes": ["L", "AY1", "T"]}},
    }
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
