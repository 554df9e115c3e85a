"""``POST /synthesize``: a text or phonemes go in, a WAV file comes out."""

from __future__ import annotations

import time
from threading import Event
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from app.core.clip import MEDIA_TYPE, Clip
from app.core.errors import InvalidInput, InvalidPronunciations, MalformedRequest, TooLarge
from app.core.lifecycle import Service
from app.core.results import SpeechRequest
from app.routers import openapi_examples
from app.routers.deps import ServiceDep, require_api_key
from app.routers.jobs import admitted, counted
from app.routers.pieces import PiecesResponse
from app.routers.submission import MAX_TEXT_CHARACTERS, OVERHEAD_BYTES, check_pronunciations, check_text

MAX_BODY_BYTES = OVERHEAD_BYTES
"""Of the JSON: many times what can be said in one clip."""


class SynthesisBody(BaseModel):
    """What to say, and how fast: either `text` or `phonemes`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str | None = Field(
        None, max_length=MAX_TEXT_CHARACTERS, description="English; said with the phonemes that `/analyze` expects."
    )
    pronunciations: list[list[str] | None] | None = Field(
        None, description="As for `/analyze`: one entry per word of `text`, null to look it up."
    )
    phonemes: list[str] | None = Field(
        None,
        description="ARPAbet, stress digits optional: said just so. `heard_phonemes` of `/analyze` fits in here.",
        examples=[["S", "IH1", "NG", "K"]],
    )
    speed: float = Field(1.0, ge=0.5, le=2, allow_inf_nan=False, description="0.5 is half as fast, 2 twice as fast.")


router = APIRouter(tags=["speech"])


@router.post(
    "/synthesize",
    summary="Speak a text or phonemes",
    response_class=Response,
    responses=openapi_examples.SPEECH_RESPONSES,
    openapi_extra={"requestBody": openapi_examples.speech_body(SynthesisBody.model_json_schema())},
    dependencies=[Depends(require_api_key)],
)
async def synthesize(request: Request, service: ServiceDep) -> Response:
    """Answers a mono WAV file of 16 bits; the built-in voice has 24,000 samples a second.

    A `text` is spoken with the phonemes that `/analyze` scores it by, numbers and abbreviations written out;
    `phonemes` are spoken as they are, also where they make no word: what `/analyze` heard can be played back.
    """
    clip = await counted(service, "/synthesize", _speak(request, service))
    headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Disposition": 'inline; filename="speech.wav"',
        "Cache-Control": "no-store",
    }
    return PiecesResponse(clip.pieces(), clip.size, headers)


async def _speak(request: Request, service: Service) -> Clip:
    handler = service.handler
    async with admitted(request, service) as job:
        wanted = await job.read(_read(job.request))

        def speak_and_count(cancelled: Event) -> Clip:
            started = time.perf_counter()
            clip = handler.synthesize(wanted, cancelled)
            service.metrics.observe_speech(time.perf_counter() - started, clip.seconds)
            return clip

        return await job.run(speak_and_count)


async def _read(request: Request) -> SpeechRequest:
    """Read and check the body.

    Raises:
        MalformedRequest: it is no JSON object.
        InvalidInput: a field's value is none that it may have, or there is not just one of text and phonemes.
        TooLarge: it has too many bytes.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise MalformedRequest("Send application/json, and say so in the header Content-Type.")
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise TooLarge(f"The request has more than {MAX_BODY_BYTES} bytes.")
    try:
        fields = from_json(content, allow_inf_nan=False, cache_strings="none")  # no copies of what strangers send
    except ValueError:
        raise MalformedRequest("The body is no valid JSON.") from None
    if not isinstance(fields, dict):
        raise MalformedRequest("The body is no JSON object.")
    return _check(fields)


def _check(fields: dict[str, Any]) -> SpeechRequest:
    text = check_text(fields.get("text"))
    pronunciations = check_pronunciations(fields.get("pronunciations"))
    try:
        body = SynthesisBody.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        raise InvalidInput(f"{name[:40]}: {first['msg']}.", field=name[:40]) from None
    if text is None and body.phonemes is None:
        raise InvalidInput("text is missing: send text or phonemes.", field="text")
    if text is not None and body.phonemes is not None:
        raise InvalidInput("Send either text or phonemes, not both.", field="phonemes")
    if pronunciations is not None and text is None:
        raise InvalidPronunciations("pronunciations says how to read text, which is missing.", field="pronunciations")
    if body.phonemes is not None and not body.phonemes:
        raise InvalidInput("phonemes is empty.", field="phonemes")
    return SpeechRequest(text, pronunciations, body.phonemes, body.speed)
