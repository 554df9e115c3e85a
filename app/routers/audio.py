"""``GET /audio/{id}``: a file of the audio cache, whole or in part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.core.temp_audio_cache import CachedAudio, TempAudioCache
from app.routers import problems
from app.routers.byte_ranges import ByteRange, parse_range
from app.routers.deps import ServiceDep
from app.routers.pieces import PiecesResponse

_PATH = "/audio/{id:path}"  # slashes too: else a name that ends in one would be redirected
_PIECE_BYTES = 1 << 16


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {problems.MEDIA_TYPE: {"schema": problems.Problem.model_json_schema()}},
    }


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The recording", "content": {"audio/wav": _BINARY}},
    206: {"description": "The part that `Range` asks for", "content": {"audio/wav": _BINARY}},
    304: {"description": "It is what `If-None-Match` or `If-Modified-Since` speak of"},
    404: _problem("There is none of this name, it has expired, or the audio cache is off"),
    416: _problem("`Range` begins behind the end; the header `Content-Range` has the size"),
}

router = APIRouter(tags=["audio"])


@router.get(_PATH, summary="Play a cached recording", response_class=Response, responses=_RESPONSES)
async def get_audio(id: str, request: Request, service: ServiceDep) -> Response:  # noqa: A002
    """Answers the clip that a link of another answer leads to, for as long as it is kept.

    No API key is asked for: an `<audio>` element could not send it, and nobody can guess a name. One range of bytes
    may be asked for, as players do.
    """
    return _answer(id, request, service.audio_cache)


@router.head(_PATH, include_in_schema=False)
async def head_audio(id: str, request: Request, service: ServiceDep) -> Response:  # noqa: A002
    """The headers of :func:`get_audio`; ``Range`` is for GET alone (RFC 9110, section 14.2)."""
    return _answer(id, request, service.audio_cache)


def _answer(id_: str, request: Request, cache: TempAudioCache | None) -> Response:
    found = cache.read(id_) if cache is not None else None
    if cache is None or found is None:
        raise HTTPException(404, "There is no audio of this name, or it has expired.", {"Cache-Control": "no-store"})
    audio, file = found
    with contextlib.ExitStack() as unless_streamed:
        unless_streamed.callback(file.close)
        headers = _headers(audio, cache.seconds_left(audio))
        if _is_known(request, headers):
            return Response(status_code=304, headers=headers)
        part = _wanted_part(request, audio, headers)
        headers["Content-Type"] = audio.media_type
        headers["Content-Disposition"] = f'inline; filename="{audio.id}.{audio.extension}"'
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(audio.size)})
        status, first, end = 200, 0, audio.size
        if part is not None:
            status, first, end = 206, part.first, part.last + 1
            headers["Content-Range"] = part.content_range(audio.size)
        unless_streamed.pop_all()
        return PiecesResponse(_pieces(file, first, end), end - first, headers, status_code=status, held=file)


def _headers(audio: CachedAudio, seconds_left: float) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={int(seconds_left)}",
        "ETag": f'"{audio.id}"',  # strong: what is in a file never changes
        "Last-Modified": formatdate(audio.created, usegmt=True),
        "X-Content-Type-Options": "nosniff",
    }


def _is_known(request: Request, headers: dict[str, str]) -> bool:
    """Whether the caller has it already (RFC 9110, section 13.2.2)."""
    if tags := request.headers.getlist("if-none-match"):
        return any(tag.strip().removeprefix("W/") in (headers["ETag"], "*") for tag in ",".join(tags).split(","))
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return parsedate_to_datetime(headers["Last-Modified"]) <= parsedate_to_datetime(since)
    except (TypeError, ValueError):  # no date, or one without a time zone
        return False


def _wanted_part(request: Request, audio: CachedAudio, headers: dict[str, str]) -> ByteRange | None:
    """The part that is asked for, None for the whole.

    Raises:
        RangeNotSatisfiable: it begins behind the end.
    """
    ranges = ",".join(request.headers.getlist("range"))
    only_if = request.headers.get("if-range")
    if request.method != "GET" or (only_if is not None and only_if not in (headers["ETag"], headers["Last-Modified"])):
        return None
    return parse_range(ranges, audio.size)


def _pieces(file: BinaryIO, first: int, end: int) -> Iterator[bytes]:
    """The bytes of a file from ``first`` to before ``end``.

    Starlette's FileResponse reads on threads of the default pool, where each leaves an arena of the heap behind. These
    files are small and were written just now: reading a piece of one from the page cache takes microseconds.
    """
    for start in range(first, end, _PIECE_BYTES):
        length = min(_PIECE_BYTES, end - start)
        piece = os.pread(file.fileno(), length, start)
        if len(piece) < length:
            raise OSError("a file of the audio cache was cut short")  # the server ends the connection
        yield piece
