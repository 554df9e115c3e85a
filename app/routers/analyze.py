"""``POST /analyze``: a recording goes in, phonemes with times and scores come out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from threading import Event
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from app.core.errors import ElocuteError, InvalidInput
from app.core.inference_executor import Place
from app.core.lifecycle import Handler, Service
from app.core.memory_budget import Promise, upload_mb
from app.core.metrics import Metrics
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.routers import openapi_examples, problems, schemas
from app.routers.deps import ServiceDep, require_api_key
from app.routers.submission import Submission, read_submission

T = TypeVar("T")

_METER_STEP = 1 << 20  # bytes of a body of unknown length that are promised ahead

router = APIRouter(tags=["analysis"])


@router.post(
    "/analyze",
    summary="Analyse the pronunciation of a recording",
    response_model=schemas.AnalysisResponse,
    responses=openapi_examples.RESPONSES,
    openapi_extra={"requestBody": openapi_examples.REQUEST_BODY},
    dependencies=[Depends(require_api_key)],
)
async def analyze(request: Request, service: ServiceDep) -> Response:
    """Times every phoneme that was spoken; with a `text`, also scores how well it was read.

    Send the recording as `multipart/form-data`, or as base64 in `application/json`. WAV, FLAC, OGG (Vorbis, Opus),
    MP3, WebM/Opus and MP4/M4A/AAC are decoded, at any sample rate; channels are mixed to mono. With `text` the
    analysis is *scripted*: words and phonemes are scored against what should have been read. Without it, it is
    *unscripted*: what was heard, fluency and pitch. All times are seconds from the start of the recording, all scores
    0 to 100.
    """
    try:
        content = await _answer(request, service)
    except Exception as error:
        service.metrics.count(problems.respond_status(error), error)
        raise
    service.metrics.count(200)
    return Response(content, media_type="application/json")


async def _answer(request: Request, service: Service) -> bytes:
    handler = service.handler
    is_json = request.headers.get("content-type", "").lower().startswith("application/json")
    announced = _announced_bytes(request)
    async with service.admit(upload_mb(announced, is_json=is_json)) as (place, promise):
        metered = Request(request.scope, _metered(request.receive, announced, promise, is_json=is_json))
        submission = await _read_in_time(metered, place, service.settings)
        promise.use()  # what was read is there now
        _check_reference_audio(submission, service.settings)
        job = AnalysisRequest(submission.audio, submission.text, submission.pronunciations, request.state.request_id)
        cancelled = Event()
        work = service.executor.run(
            _analyze_and_serialize,
            handler,
            service.metrics,
            job,
            cancelled,
            timeout=service.settings.request_timeout_seconds,
            cancelled=cancelled,
            place=place,
        )
        try:
            return await _unless_disconnected(request, work)
        except ElocuteError as error:
            if error.field == "audio":  # what the pipeline calls it; blame the field that was sent
                error.field = submission.audio_field
            raise


async def _read_in_time(request: Request, place: Place, settings: Settings) -> Submission:
    try:
        async with asyncio.timeout(settings.request_timeout_seconds):
            return await read_submission(request, settings.max_upload_bytes, place.cleanup)
    except TimeoutError:
        seconds = settings.request_timeout_seconds
        raise HTTPException(408, f"The request did not arrive within {seconds:g} s.") from None


def _check_reference_audio(submission: Submission, settings: Settings) -> None:
    if submission.reference_audio == "url" and not settings.enable_audio_cache:
        raise InvalidInput(
            "reference_audio=url needs the audio cache, which is off: ENABLE_AUDIO_CACHE=false.",
            field="reference_audio",
        )
    if submission.reference_audio != "none":
        raise InvalidInput(
            "This version has no voice yet, so reference_audio can only be none.", field="reference_audio"
        )


def _announced_bytes(request: Request) -> int:
    """The length that the body is said to have, 0 where none is."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and "transfer-encoding" not in request.headers else 0


def _metered(receive: Receive, announced: int, promise: Promise, *, is_json: bool) -> Receive:
    """Receive a body whose memory is promised as it comes, as far as it was not when it was announced."""
    read, promised = 0, announced

    async def receive_metered() -> Message:
        nonlocal read, promised
        message = await receive()
        read += len(message.get("body", b""))
        if read > promised:
            beyond = read + _METER_STEP - promised
            promise.extend(upload_mb(beyond, is_json=is_json) - upload_mb(0, is_json=is_json))
            promised += beyond
        return message

    return receive_metered


def _analyze_and_serialize(handler: Handler, metrics: Metrics, job: AnalysisRequest, cancelled: Event) -> bytes:
    """On the thread: a long recording's answer has tens of thousands of numbers, too many for the event loop."""
    result = handler.analyze(job, cancelled)
    metrics.observe(result.timings_ms)
    return schemas.serialize(result)


async def _unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work``, and cancel it when the client is gone.

    Raises:
        ClientDisconnect: nobody waits for the answer any more.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        watch.cancel()
        task.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
