from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from app.core.errors import ElocuteError, MalformedRequest, TooLarge
from app.routers import problems
from app.routers.json_upload import AUDIO, NAMES, JsonUpload

Outcome = tuple[dict[str, Any], bytes] | int
"""The fields and the recording, or the status."""

REST = 1 << 18


def read(body: bytes, cuts: list[int] | None = None, max_rest: int = REST) -> tuple[dict[str, Any], bytes]:
    """Read a body in pieces of these sizes, over and over."""
    audio = io.BytesIO()
    upload = JsonUpload(audio, max_rest)
    sizes, start = cuts or [len(body) or 1], 0
    for turn in range(len(body) + 1):
        size = sizes[turn % len(sizes)]
        upload.feed(body[start : start + size])
        start += size
        if start >= len(body):
            break
    return upload.finish(), audio.getvalue()


def outcome(body: bytes, cuts: list[int] | None = None) -> Outcome:
    try:
        return read(body, cuts)
    except ElocuteError as error:
        return problems.status_of(type(error))


def reference(body: bytes) -> Outcome:
    """What reading it all at once comes to."""
    try:
        value = from_json(body)
        if not isinstance(value, dict):
            return 400
        names = [name for name, _ in json.loads(body, object_pairs_hook=list, parse_int=str)]
        if any(names.count(name) > 1 for name in NAMES):
            return 400
        fields = {name: value[name] for name in NAMES if name in value}
        encoded = fields.get(AUDIO)
        if not isinstance(encoded, str):
            return fields, b""
        characters = encoded.translate(dict.fromkeys(b" \t\r\n"))
        if len(characters) % 4 or "=" in characters[:-2]:
            return 400
        return fields | {AUDIO: ""}, base64.b64decode(characters, validate=True)
    except ValueError:
        return 400


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=9,
)
names = st.sampled_from([*NAMES, "x", "audio", "audio_base64 ", '"', "\\", "}", '":"', "ä"])
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=4)


@st.composite
def strings(draw: st.DrawFn, value: str) -> str:
    """Spell a JSON string, with more escapes than it needs."""
    spelled = []
    for character in value:
        plain = json.dumps(character, ensure_ascii=draw(st.booleans()))[1:-1]
        code = f"\\u{ord(character):04X}" if ord(character) < 0x10000 else plain
        spelled.append(draw(st.sampled_from([plain, plain, code] + ["\\/"] * (character == "/"))))
    return f'"{"".join(spelled)}"'


@st.composite
def encodings(draw: st.DrawFn) -> str:
    """Spell a recording in base64, wrapped here and there."""
    characters = base64.b64encode(draw(st.binary(max_size=60))).decode()
    spaces = draw(st.lists(st.tuples(st.integers(0, 80), st.sampled_from([" ", "\n", "\r\n", "\t"])), max_size=4))
    for at, space in spaces:
        characters = characters[:at] + space + characters[at:]
    return characters


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Spell an object with a recording."""
    members = draw(st.lists(st.tuples(names, values), max_size=4))
    spelled = [(draw(strings(name)), json.dumps(value)) for name, value in members if name != AUDIO]
    audio = (draw(strings(AUDIO)), draw(strings(draw(encodings()))))
    spelled.insert(draw(st.integers(0, len(spelled))), audio)
    space = draw(st.sampled_from(["", " ", "\r\n\t "]))
    return (space + "{" + f"{space},".join(f"{name}{space}:{space}{value}" for name, value in spelled) + "}").encode()


@given(objects(), sizes)
def test_an_object_reads_as_a_parser_reads_it(body: bytes, cuts: list[int]) -> None:
    assert outcome(body, cuts) == reference(body)


@given(objects(), st.data(), sizes)
def test_a_broken_object_is_refused_as_a_parser_refuses_it(body: bytes, data: st.DataObject, cuts: list[int]) -> None:
    start = data.draw(st.integers(0, len(body)))
    end = start + data.draw(st.integers(0, 3))
    piece = data.draw(st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"]", b":", b",", b"=", b" ", b"\n", b"\xff"]))
    broken = body[:start] + piece + body[end:]
    assert outcome(broken, cuts) == reference(broken)


fragments = [
    b'"audio_base64":"QQ=="',
    b'"audio_base64"',
    b'"\\u0061udio_base64":',
    b'"AAAA"',
    b'"A\\u0041AA"',
    b'"AA/\\/"',
]
fragments += [b'"a\\"b"', b'"text"', b"null", b"1", b"=", b"\\", b"\\u00", b'"', b'"\\\\"', b" ", b"\n", b"\xc3\xa4"]
fragments += [b"{", b"}", b"[", b"]", b":", b","] * 2


@given(st.lists(st.sampled_from(fragments)).map(b"".join) | st.binary(), st.booleans(), sizes)
def test_any_bytes_come_to_what_a_parser_makes_of_them(body: bytes, wrap: bool, cuts: list[int]) -> None:
    body = b"{" + body + b"}" if wrap else body
    assert outcome(body, cuts) == reference(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": {"audio_base64": "AAAA"}, "audio_base64": "YWJj"}',
        b'{"x": ["audio_base64", "AAAA"], "audio_base64": "YWJj"}',
        b'{"x": "\\"audio_base64\\": \\"AAAA", "audio_base64": "YWJj"}',
        rb'{"\u0061udio_base64": "\u0059WJ\u006A"}',
        rb'{"audio_base64": "YW\r\n\tJ j"}',
    ],
)
def test_the_recording_is_the_outermost_member(body: bytes) -> None:
    for size in range(1, len(body) + 1):
        assert read(body, [size])[1] == b"abc"


def test_the_escapes_that_encoders_write() -> None:
    audio = bytes(range(256)) * 300  # of all 64 characters, over several pieces
    encoded = base64.b64encode(audio)
    slashes = encoded.replace(b"/", b"\\/").replace(b"+", b"\\u002B")  # PHP's, .NET's
    wrapped = base64.encodebytes(audio).replace(b"\n", b"\\r\\n")
    for spelled in (encoded, slashes, wrapped, b"".join(b"\\u%04x" % character for character in encoded)):
        assert read(b'{"audio_base64":"%b"}' % spelled, [997])[1] == audio


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (b'{"audio_base64": "AAAA\nAAAA"}', "control character", AUDIO),
        (rb'{"audio_base64": "AA\xAA"}', "invalid escape", AUDIO),
        (b'{"audio_base64": "AAA"}', "base64", AUDIO),
        ('{"audio_base64": "AAÄA"}'.encode(), "base64", AUDIO),
        (rb'{"audio_base64": "AA\u00c4A"}', "base64", AUDIO),
        (b'{"audio_base64": "AA==AAAA"}', "base64", AUDIO),
        (b'{"audio_base64": "AAAA", "audio_base64": "AAAA"}', "more than one", AUDIO),
        (b'{"audio_base64": 1, "audio_base64": "AAAA"}', "more than one", AUDIO),
        (b'{"audio_base64": "AAAA", "pronunciations": [], "pronunciations": []}', "more than one", "pronunciations"),
        (b'{"text": "a"\n"audio_base64": "AAAA"}', "line 2 column 1", None),
        (b'{"audio_base64": "AAAA', "EOF while parsing a string", None),
        (b'{"audio_base64": "AAAA\\', "EOF while parsing a string", None),
        (b'{"audio_base64": "AAAA"} {}', "trailing characters", None),
        (b'["audio_base64", "AAAA"]', "must be a JSON object", None),
    ],
)
def test_the_error_says_what_is_wrong(body: bytes, reason: str, field: str | None) -> None:
    with pytest.raises(MalformedRequest, match=reason) as caught:
        read(body)
    assert caught.value.field == field


def test_a_name_twice_counts_in_the_outermost_object_alone() -> None:
    assert read(b'{"x": {"text": 1, "text": 2}, "text": "a"}')[0] == {"text": "a"}


def test_what_is_beside_the_recording_is_bounded() -> None:
    recording = b'"audio_base64":"%b"' % (b"AAAA" * 1000)
    rest = len(b'{,"x":""}"audio_base64":""')
    assert read(b'{%b,"x":"%b"}' % (recording, b"a" * (100 - rest)), max_rest=100)[1] == bytes(3000)
    for body in (b'{%b,"x":"%b"}' % (recording, b"a" * (101 - rest)), b'{"x":"%b' % (b"a" * 101), b" " * 101):
        with pytest.raises(TooLarge):
            read(body, max_rest=100)
