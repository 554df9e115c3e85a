"""Reads a JSON body with a recording in it as it arrives: the recording is decoded on the way, the body never kept.

A JSON parser needs the whole body and makes objects of all that is in it, tens of bytes for each one sent. Here the
string of the recording is found as the bytes come, decoded piece by piece and replaced by an empty one; the parser is
given what remains, which has little space to have.
"""

from __future__ import annotations

import contextlib
import re
from base64 import b64decode
from typing import Any, BinaryIO

from pydantic_core import from_json

from app.core.errors import MalformedRequest, TooLarge

AUDIO = "audio_base64"
NAMES = (AUDIO, "text", "pronunciations", "reference_audio")
"""The members that mean something, each at most once."""

_CHARACTERS = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
"""Of a string, as far as it goes; what follows is its closing quote, half an escape, or nothing yet."""

_STRUCTURE = re.compile(rb'["{}\[\]:]')
_WHITE_SPACE = b" \t\n\r"
_QUOTE, _COLON = b'":'
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")


class JsonUpload:
    """One body. It is read as a parser would read it: where the two could differ, the body is no valid JSON.

    The time goes with the bytes fed, however they are cut.
    """

    def __init__(self, audio: BinaryIO, max_rest: int) -> None:
        """Expect the first byte.

        Args:
            audio: the recording is written here.
            max_rest: bytes that the body may have without the recording.
        """
        self._decoder = _Base64Decoder(audio)
        self._max_rest = max_rest
        self._rest = bytearray()
        self._at = 0  # the next byte of the rest to look at
        self._depth = 0
        self._in_audio = False
        self._in_string = False
        self._string = (0, 0)  # the last one of the outermost object, with its quotes
        self._value = -1  # where the recording's value begins, when that is next
        self._escape = b""  # begun
        self._names: list[str] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Args:
            data: each KB takes less than 1 ms, the recording's 10 µs.

        Raises:
            MalformedRequest: the recording is no base64, or there are two.
            TooLarge: there is too much beside the recording.
        """
        while data:
            if self._in_audio:
                data = self._decode(data)
                continue
            self._rest += data
            data = b""
            if self._scan():
                data = bytes(self._rest[self._at :])
                del self._rest[self._at :]
            if len(self._rest) > self._max_rest:
                raise TooLarge(f"The body has more than {self._max_rest} bytes beside the recording.")

    def finish(self) -> dict[str, Any]:
        """Parse the rest once the body has ended.

        Returns:
            The members of ``NAMES`` that are there; a recording that is a string is ``""``.

        Raises:
            MalformedRequest: it is no JSON object, or a member is there twice.
        """
        try:
            value = from_json(self._rest, cache_strings="none")  # the cache would keep what strangers send
        except ValueError as error:
            cut = f", counted as if {AUDIO} were empty" if self._decoder.used else ""
            raise MalformedRequest(f"The body is no valid JSON: {error}{cut}.") from None
        if not isinstance(value, dict):
            raise MalformedRequest("The body must be a JSON object.")
        for name in NAMES:
            if self._names.count(name) > 1:
                raise MalformedRequest(f"There is more than one {name}.", field=name)
        return {name: value[name] for name in NAMES if name in value}

    def _scan(self) -> bool:
        """Look at what is new of the rest, and say whether the recording's string begins after it."""
        rest = self._rest
        while not self._in_string or self._string_ends():
            found = _STRUCTURE.search(rest, self._at)
            if found is None:
                self._at = len(rest)
                return False
            self._at = found.end()
            token = rest[self._at - 1]
            if token == _QUOTE:
                if self._value >= 0 and not rest[self._value : self._at - 1].strip():
                    self._begin_audio()
                    return True
                self._in_string = True
                self._string = (self._at - 1, 0) if self._depth == 1 else self._string
            elif token in _OPENING:
                self._depth += 1
            elif token in _CLOSING:
                self._depth -= 1
            elif self._depth == 1:
                self._take_name()
        return False

    def _string_ends(self) -> bool:
        """Go on to behind the closing quote of a string of the rest, as far as there is one."""
        self._at = _end_of_characters(self._rest, self._at)
        if self._rest[self._at : self._at + 1] != b'"':
            return False
        self._at += 1
        self._in_string = False
        self._string = (self._string[0], self._at) if self._depth == 1 else self._string
        return True

    def _take_name(self) -> None:
        """Note the member whose colon has been read."""
        start, end = self._string
        self._string = (0, 0)
        known = None
        if 0 < end - start < 128:  # ours have 15 characters at most, 90 bytes if all are escaped
            with contextlib.suppress(ValueError):  # then the rest is no JSON either
                known = from_json(self._rest[start:end], cache_strings="none")
        if known in NAMES:
            self._names.append(known)
        self._value = self._at if known == AUDIO else -1

    def _begin_audio(self) -> None:
        if self._decoder.used:
            raise MalformedRequest(f"There is more than one {AUDIO}.", field=AUDIO)
        self._decoder.used = self._in_audio = True
        self._value = -1

    def _decode(self, data: bytes) -> bytes:
        """Decode as far as the string goes, and return what comes after it."""
        data = self._escape + data
        end = _end_of_characters(data, 0)
        self._decoder.feed(data[:end])
        if data[end : end + 1] != b'"':
            self._escape = data[end:]
            return b""
        self._decoder.finish()
        self._rest += b'"'
        self._at = len(self._rest)
        self._in_audio = False
        return data[end + 1 :]


class _Base64Decoder:
    """Decodes what stands between the quotes of a JSON string, cut anywhere but after a backslash."""

    def __init__(self, audio: BinaryIO) -> None:
        self.used = False
        self._audio = audio
        self._escape = b""  # \u and the digits so far
        self._group = b""  # up to three characters of the next four
        self._padded = False

    def feed(self, characters: bytes) -> None:
        characters = self._escape + characters
        begun = characters.rfind(b"\\u", max(0, len(characters) - 5))
        self._escape = characters[begun:] if begun >= 0 else b""
        self._write(characters[:begun] if begun >= 0 else characters)

    def finish(self) -> None:
        self._write(self._escape)
        if self._group:
            raise _broken()

    def _write(self, characters: bytes) -> None:
        if not characters.isascii():
            raise _broken()
        encoded = self._group + _unescape(characters).translate(None, _WHITE_SPACE)  # many tools wrap their lines
        if not encoded:
            return
        whole = len(encoded) & ~3
        self._group, encoded = encoded[whole:], encoded[:whole]
        if self._padded or b"=" in encoded[:-2]:
            raise _broken()
        self._padded = encoded.endswith(b"=")
        try:
            self._audio.write(b64decode(encoded, validate=True))
        except ValueError:
            raise _broken() from None


def _end_of_characters(data: bytes | bytearray, start: int) -> int:
    found = _CHARACTERS.match(data, start)
    assert found is not None  # noqa: S101 - it matches nothing, too
    return found.end()


def _unescape(characters: bytes) -> bytes:
    try:
        text: str = from_json(b'"%b"' % characters, cache_strings="none")
    except ValueError as error:  # its line and column are of this piece
        reason = str(error).partition(" at line ")[0]
        raise MalformedRequest(f"The body is no valid JSON: {reason}, in {AUDIO}.", field=AUDIO) from None
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise _broken() from None


def _broken() -> MalformedRequest:
    return MalformedRequest(f"{AUDIO} is no valid base64.", field=AUDIO)
