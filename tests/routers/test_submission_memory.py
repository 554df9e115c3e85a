"""What reading a request takes, and that nothing of it outlives the reading when that fails."""

from __future__ import annotations

import asyncio
import base64
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from app.core.errors import ElocuteError, TooLarge
from app.routers.submission import OVERHEAD_BYTES, read_submission

MB = 1 << 20
JSON = "application/json"
FORM = "multipart/form-data; boundary=b"
TEXT = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
AUDIO = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'


def request(body: bytes, kind: str, end: BaseException | None = None, size: int = 1 << 16) -> Request:
    """A request whose body comes in pieces, or breaks off with an error."""
    pieces = iter(range(0, len(body), size))

    async def receive() -> Message:
        start = next(pieces, None)
        if start is not None:
            return {"type": "http.request", "body": body[start : start + size], "more_body": True}
        if end is not None:
            raise end
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "headers": [(b"content-type", kind.encode())]}, receive)


class Traced:
    """Bytes taken since a moment: the most, and what is left of them."""

    peak = kept = 0


@contextmanager
def traced() -> Iterator[Traced]:
    result = Traced()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        yield result
        kept, peak = tracemalloc.get_traced_memory()
        result.kept, result.peak = kept - before, peak - before
    finally:
        tracemalloc.stop()


def read(sent: Request, max_audio: int = 8 * MB) -> bytes:
    with ExitStack() as cleanup:
        return asyncio.run(read_submission(sent, max_audio, cleanup)).audio.read()


def peak_of(sent: Request) -> tuple[int, bytes | type[ElocuteError]]:
    """The most that reading takes, and what it comes to."""
    outcome: bytes | type[ElocuteError]
    with ExitStack() as cleanup:
        with traced() as memory:
            try:
                audio = asyncio.run(read_submission(sent, 8 * MB, cleanup)).audio
            except ElocuteError as error:
                outcome = type(error)
            else:
                outcome = b""
        return memory.peak, outcome or audio.read()


recording = bytes(range(256)) * (6 * 1024)
encoded = base64.b64encode(recording)  # no padding


@pytest.mark.parametrize(
    "spelled",
    [
        encoded,
        base64.encodebytes(recording).replace(b"\n", b"\\n"),  # at 76 characters
        b" ".join(encoded[start : start + 2] for start in range(0, len(encoded), 2)),
        encoded.replace(b"/", b"\\/").replace(b"+", b"\\u002B"),
        b"\\u0041" * (len(encoded) // 4 * 4),
    ],
    ids=["plain", "wrapped", "spaced", "escaped", "all escaped"],
)
@pytest.mark.parametrize("size", [1 << 16, 64 * MB], ids=["in pieces", "at once"])
def test_a_json_body_takes_its_recording_and_little_more(spelled: bytes, size: int) -> None:
    peak, audio = peak_of(request(b'{"audio_base64":"%b","text":"hi"}' % spelled, JSON, size=size))
    assert isinstance(audio, bytes)
    assert len(audio) == len(recording)
    growth = len(recording) // 8  # what a growing BytesIO has in hand
    assert peak < len(recording) + growth + MB + (len(spelled) if size > MB else 0)  # the piece is the server's


@pytest.mark.parametrize(
    "body",
    [
        b'{"audio_base64":"AAAA","x":[[]' + b",[]" * (2 * MB),
        b'{"x":"' + b"a" * (6 * MB),
        b'{"text":"' + b"\\u0061" * MB,
        b" " * (6 * MB),
        b"[" * (6 * MB),
    ],
    ids=["lists", "string", "text", "space", "depth"],
)
def test_what_is_beside_the_recording_is_refused_before_it_is_read(body: bytes) -> None:
    peak, error = peak_of(request(body, JSON))
    assert error is TooLarge
    assert peak < MB


def test_the_most_that_may_be_beside_it_makes_few_objects() -> None:
    count = OVERHEAD_BYTES // 3 - 20
    body = b'{"audio_base64":"AAAA","x":[{}%b]}' % (b",{}" * count)
    peak, audio = peak_of(request(body, JSON))
    assert audio == bytes(3)
    assert peak < 10 * MB


def test_a_form_takes_its_recording_and_little_more() -> None:
    body = AUDIO + b"\r" * (2 * MB) + b"\r\n--b--\r\n"  # each byte might begin the boundary
    peak, audio = peak_of(request(body, FORM))
    assert isinstance(audio, bytes)
    assert len(audio) == 2 * MB
    assert peak < 2 * MB * 9 // 8 + 3 * MB


def test_the_fields_of_a_form_are_bounded_together() -> None:
    text = TEXT % (b"x", b"a" * (OVERHEAD_BYTES // 4))
    end = AUDIO + b"abc\r\n--b--\r\n"
    assert read(request(text * 4 + end, FORM)) == b"abc"
    with pytest.raises(TooLarge):
        read(request(text * 4 + TEXT % (b"y", b"a") + end, FORM))


BODIES = {
    "json": (b'{"text":"%b","audio_base64":"%b"' % (b"a" * 200_000, encoded), JSON),
    "rest": (b'{"text":"%b' % (b"a" * 250_000), JSON),
    "form": (TEXT % (b"text", b"a" * 200_000) + AUDIO + recording, FORM),
    "field": (TEXT % (b"text", b"a" * 200_000), FORM),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("end", [None, HTTPException(413), asyncio.CancelledError()], ids=["400", "413", "408"])
def test_an_error_keeps_nothing_of_the_body(name: str, end: BaseException | None) -> None:
    body, kind = BODIES[name]
    assert kept_by_failure(lambda: request(body, kind, end)) < 100_000


def test_an_error_in_a_field_keeps_nothing_either() -> None:
    text = b"a" * 200_000  # too long
    json = b'{"text":"%b","audio_base64":"%b"}' % (text, encoded)
    form = TEXT % (b"text", text) + AUDIO + recording + b"\r\n--b--\r\n"
    assert kept_by_failure(lambda: request(json, JSON)) < 100_000
    assert kept_by_failure(lambda: request(form, FORM)) < 100_000


def kept_by_failure(make: Callable[[], Request]) -> int:
    """Bytes that an error holds on to until it is answered, though what has been read is closed."""

    async def fail(sent: Request) -> BaseException:
        try:
            with ExitStack() as cleanup:
                await read_submission(sent, 8 * MB, cleanup)
        except (ElocuteError, HTTPException, asyncio.CancelledError) as error:
            return error
        raise AssertionError

    async def main() -> int:
        await fail(make())  # what is imported and cached the first time
        sent = make()
        with traced() as memory:
            error = await fail(sent)
            await asyncio.sleep(0)  # generators end
        assert error.__traceback__ is not None
        return memory.kept

    return asyncio.run(main())
