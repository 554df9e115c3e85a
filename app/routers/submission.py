"""Reads what is sent to ``POST /analyze``, as multipart or JSON, into memory and nowhere else."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from pydantic_core import from_json
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.core.errors import InvalidInput, InvalidPronunciations, MalformedRequest, TooLarge
from app.core.results import ReferenceKind
from app.core.tracebacks import forget_locals
from app.routers.json_upload import AUDIO, JsonUpload

OVERHEAD_BYTES = 256 * 1024
"""What a body may have beyond the recording: the other fields and the multipart or JSON around them."""

MAX_TEXT_CHARACTERS = 10_000
"""Several times what can be read aloud in the longest recording."""

_REFERENCE_AUDIO = ("none", "inline", "url")
_MAX_PARTS = 16
_STEP = 1 << 14  # bytes looked at before others have their turn
_MAX_PRONUNCIATION_WORDS = 5_000


@dataclass(frozen=True, slots=True)
class Submission:
    """The fields of one request, each valid by itself.

    Attributes:
        audio: an in-memory file at position 0.
        text: with at least one visible character, or None.
        pronunciations: None for a word to look up; only ever with a text.
        reference_audio: whether to speak the text back.
        audio_field: the field that the recording came in.
    """

    audio: BinaryIO
    text: str | None
    pronunciations: list[list[str] | None] | None
    reference_audio: ReferenceKind
    audio_field: str = "audio"


async def read_submission(request: Request, max_audio: int, cleanup: ExitStack) -> Submission:
    """Read and check the fields of a request.

    Args:
        request: its body must not have been read yet.
        max_audio: most bytes that the recording may have.
        cleanup: what to close when nobody uses the recording any more is put here.

    Raises:
        MalformedRequest: neither multipart nor JSON, broken, or a field is there twice.
        InvalidInput: a field is missing or its value is none that it may have.
        TooLarge: the recording or the rest has more bytes than it may have.
        HTTPException: 413, from the middleware that counts the body.
        ClientDisconnect: the client is gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            return await _read_multipart(request, max_audio, cleanup)
        if kind == "application/json":
            return await _read_json(request, max_audio, cleanup)
    except BaseException as error:
        forget_locals(error)
        raise
    raise MalformedRequest("Send multipart/form-data or application/json, and say so in the header Content-Type.")


class _MemoryParser(MultiPartParser):
    """Keeps files in memory, whatever their size, and refuses long fields and a form that breaks off."""

    def __init__(self, headers: Headers, stream: AsyncGenerator[bytes, None], max_audio: int) -> None:
        super().__init__(
            headers,
            self._to_its_end(stream),
            max_files=_MAX_PARTS,
            max_fields=_MAX_PARTS,
            max_part_size=OVERHEAD_BYTES,
        )
        self.spool_max_size = max_audio + 2 * OVERHEAD_BYTES  # more than any body that passes the middleware
        self.complete = False
        self.beside = 0  # bytes of what is no file

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self.beside += end - start
            if self.beside > OVERHEAD_BYTES:
                raise TooLarge(f"The form has more than {OVERHEAD_BYTES} bytes beside the recording.")
        super().on_part_data(data, start, end)

    def on_end(self) -> None:
        self.complete = True

    async def _to_its_end(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self.complete:  # raised in here, where the parser closes the files that it has begun
            raise MultiPartException("It breaks off before its closing boundary.")


async def _read_multipart(request: Request, max_audio: int, cleanup: ExitStack) -> Submission:
    async with aclosing(request.stream()) as stream, aclosing(_in_steps(stream)) as pieces:
        try:
            form = await _MemoryParser(request.headers, pieces, max_audio).parse()
        except MultiPartException as error:
            raise MalformedRequest(f"The multipart form cannot be read: {error.message}") from None
    for _, value in form.multi_items():
        if isinstance(value, UploadFile):
            cleanup.callback(value.file.close)
    fields: dict[str, str | UploadFile] = {}
    for name, value in form.multi_items():
        if name in fields and name in ("audio", "text", "pronunciations", "reference_audio"):
            raise MalformedRequest(f"There is more than one {name}.", field=name)
        fields[name] = value
    audio = fields.get("audio")
    if isinstance(audio, str):
        raise InvalidInput("audio must be a file part, one with a filename.", field="audio")
    if audio is None or (not audio.filename and not audio.size):  # a browser's form without a chosen file
        raise InvalidInput("audio is missing: send the recording as a file part of this name.", field="audio")
    return _check(audio.file, audio.size or 0, max_audio, fields, "audio")


async def _read_json(request: Request, max_audio: int, cleanup: ExitStack) -> Submission:
    audio = cleanup.enter_context(io.BytesIO())
    upload = JsonUpload(audio, OVERHEAD_BYTES)
    async with aclosing(request.stream()) as stream, aclosing(_in_steps(stream)) as pieces:
        async for piece in pieces:
            upload.feed(piece)
    fields = upload.finish()
    encoded = fields.pop(AUDIO, None)
    if encoded is None:
        raise InvalidInput("audio_base64 is missing: send the recording as base64.", field=AUDIO)
    if not isinstance(encoded, str):
        raise InvalidInput("audio_base64 must be a string.", field=AUDIO)
    size = audio.tell()
    audio.seek(0)
    return _check(audio, size, max_audio, fields, AUDIO)


async def _in_steps(stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Cut what comes at once, so that the event loop is never held for long."""
    async for chunk in stream:
        yield chunk[:_STEP]
        for start in range(_STEP, len(chunk), _STEP):
            await asyncio.sleep(0)
            yield chunk[start : start + _STEP]


def _check(audio: BinaryIO, size: int, max_audio: int, fields: dict[str, Any], audio_field: str) -> Submission:
    if size == 0:
        raise InvalidInput("The recording is empty.", field=audio_field)
    _check_size(size, max_audio, audio_field)
    text = check_text(fields.get("text"))
    given = fields.get("pronunciations")
    if isinstance(given, str) and audio_field == "audio":  # multipart has no lists
        try:
            given = from_json(given)
        except ValueError:
            raise InvalidPronunciations("pronunciations is no valid JSON.", field="pronunciations") from None
    pronunciations = check_pronunciations(given)
    if pronunciations is not None and text is None:
        raise InvalidPronunciations("pronunciations says how to read text, which is missing.", field="pronunciations")
    reference = fields.get("reference_audio")
    reference = "none" if reference is None else reference
    if reference not in _REFERENCE_AUDIO:
        raise InvalidInput("reference_audio must be none, inline or url.", field="reference_audio")
    return Submission(audio, text, pronunciations, cast(ReferenceKind, reference), audio_field)


def _check_size(size: int, max_audio: int, field: str) -> None:
    if size > max_audio:
        megabytes = max_audio / (1024 * 1024)
        raise TooLarge(f"The recording has {size} bytes, more than the limit of {megabytes:g} MB.", field=field)


def check_text(text: object) -> str | None:
    """The field ``text``, valid by itself, or None.

    Raises:
        InvalidInput: it is no text, or an empty or too long one.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidInput("text must be a string.", field="text")
    if not text.strip():
        raise InvalidInput("text is empty; without one, leave it out.", field="text")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInput(f"text has more than {MAX_TEXT_CHARACTERS} characters.", field="text")
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        raise InvalidInput("text has characters that are not valid Unicode.", field="text") from None
    return text


def check_pronunciations(value: object) -> list[list[str] | None] | None:
    """The field ``pronunciations``, of the right shape, or None.

    Raises:
        InvalidPronunciations: it is no list of lists of strings.
    """
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MAX_PRONUNCIATION_WORDS:
        raise InvalidPronunciations(
            "pronunciations must be a list with one entry per word of text.", field="pronunciations"
        )
    for index, entry in enumerate(value):
        if entry is None:
            continue
        if not isinstance(entry, list) or not entry or not all(isinstance(symbol, str) for symbol in entry):
            raise InvalidPronunciations(
                f"pronunciations[{index}] must be null or a list of ARPAbet phonemes.", field="pronunciations"
            )
    return cast("list[list[str] | None]", value)
