"""``POST /analyze``: a recording goes in, phonemes with times and scores come out."""

from __future__ import annotations

from threading import Event

from fastapi import APIRouter, Depends, Request, Response

from app.core.errors import ElocuteError, InvalidInput
from app.core.lifecycle import Service
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.routers import openapi_examples, schemas
from app.routers.deps import ServiceDep, require_api_key
from app.routers.jobs import admitted, counted
from app.routers.pieces import PiecesResponse
from app.routers.submission import Submission, read_submission

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
    0 to 100. A word with an error has `heard_phonemes`, which `/synthesize` speaks: "you said" beside "should be".
    """
    answer = await counted(service, "/analyze", _answer(request, service))
    if answer.clip is None:
        return Response(answer.head, media_type="application/json")
    return PiecesResponse(answer.pieces(), answer.length, {"Content-Type": "application/json"})


async def _answer(request: Request, service: Service) -> schemas.Answer:
    handler = service.handler
    async with admitted(request, service) as job:
        reading = read_submission(job.request, service.settings.max_upload_bytes, job.place.cleanup)
        submission = await job.read(reading)
        _check_reference_audio(submission, service.settings)
        wanted = AnalysisRequest(
            submission.audio,
            submission.text,
            submission.pronunciations,
            request.state.request_id,
            submission.reference_audio,
        )

        def analyze_and_serialize(cancelled: Event) -> schemas.Answer:
            # On the thread: a long recording's answer has tens of thousands of numbers, too many for the event loop.
            result = handler.analyze(wanted, cancelled)
            service.metrics.observe(result)
            return schemas.serialize(result)

        try:
            return await job.run(analyze_and_serialize)
        except ElocuteError as error:
            if error.field == "audio":  # what the pipeline calls it; blame the field that was sent
                error.field = submission.audio_field
            raise


def _check_reference_audio(submission: Submission, settings: Settings) -> None:
    if submission.reference_audio == "url" and not settings.enable_audio_cache:
        raise InvalidInput(
            "reference_audio=url needs the audio cache, which is off: ENABLE_AUDIO_CACHE=false.",
            field="reference_audio",
        )
    if submission.reference_audio != "none" and submission.text is None:
        raise InvalidInput("reference_audio speaks text back, which is missing.", field="reference_audio")
