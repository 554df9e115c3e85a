"""The one hierarchy of errors that a caller is told about.

``core`` raises them and knows nothing of HTTP; ``app.routers.problems`` turns each into its status and problem+json.
"""

from __future__ import annotations

from typing import ClassVar


class ElocuteError(Exception):
    """Base of everything a caller is told about.

    Attributes:
        name: stable, kebab-case; the end of the problem's ``type``.
        title: a short summary of the kind of error, the same every time.
        detail: a sentence for the caller about this one.
        field: the request field to blame, if one is.
    """

    name: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class MalformedRequest(ElocuteError):
    """The request is neither the multipart nor the JSON that the contract describes."""

    name = "malformed-request"
    title = "The request cannot be read"


class Unauthorized(ElocuteError):
    """An API key is configured and the request has none, or another one."""

    name = "unauthorized"
    title = "An API key is needed"


class TooLarge(ElocuteError):
    """More bytes, or longer audio, than the limits allow."""

    name = "too-large"
    title = "The recording is larger than the limits allow"


class UnsupportedAudio(ElocuteError):
    """Bytes that are no audio we decode, or that break off while being decoded."""

    name = "unsupported-audio"
    title = "The recording cannot be decoded"


class InvalidInput(ElocuteError):
    """A field is missing, or its value cannot be used."""

    name = "invalid-input"
    title = "A field is missing or invalid"


class RangeNotSatisfiable(ElocuteError):
    """A part of a file is asked for that lies behind its end.

    Attributes:
        size: of the file in bytes.
    """

    name = "range-not-satisfiable"
    title = "The file has no such part"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes.")
        self.size = size


class SilentAudio(InvalidInput):
    """The recording has no sound in it."""

    name = "silent-audio"
    title = "The recording is silent"


class AudioTooShort(InvalidInput):
    """The recording is shorter than the shortest that can be analysed."""

    name = "audio-too-short"
    title = "The recording is too short"


class AudioNotFinite(InvalidInput):
    """The recording has samples that are infinite or not numbers."""

    name = "audio-not-finite"
    title = "The recording has invalid samples"


class TextWithoutWords(InvalidInput):
    """The text has no word that could be spoken."""

    name = "text-without-words"
    title = "The text has no word"


class InvalidPronunciations(InvalidInput):
    """``pronunciations`` does not fit the text or names phonemes that are none."""

    name = "invalid-pronunciations"
    title = "The pronunciations do not fit the text"


class ServiceBusy(ElocuteError):
    """The queue is full; the same request may succeed later.

    Attributes:
        retry_after: whole seconds after which a new try makes sense.
    """

    name = "service-busy"
    title = "The service is busy"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NotReady(ServiceBusy):
    """The service is starting or draining."""

    name = "not-ready"
    title = "The service is not ready"


class MemoryCritical(ServiceBusy):
    """There is not enough memory for the request now."""

    name = "memory-critical"
    title = "The service is short of memory"


class AnalysisTimeout(ElocuteError):
    """The analysis outran its time limit."""

    name = "analysis-timeout"
    title = "The analysis took too long"


class ModelError(ElocuteError):
    """A model cannot be loaded or does not fit its vocabulary; raised at start-up, never by a request's content."""

    name = "model-error"
    title = "A model cannot be used"
