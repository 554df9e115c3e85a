"""A spoken clip: a 16-bit WAV file in memory, made phrase by phrase and handed on in pieces: it is there just once."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FORMAT = "wav"
MEDIA_TYPE = "audio/wav"

_PIECE_BYTES = 48 * 1024  # a multiple of 3: base64 of the pieces is the base64 of the whole


class Clip:
    """Mono audio as a WAV file; grows by :meth:`append` until :meth:`finish`.

    Args:
        sample_rate: in Hz.
        voice: name of the voice that speaks.
    """

    def __init__(self, sample_rate: int, voice: str) -> None:
        from soundfile import SoundFile

        self.sample_rate = sample_rate
        self.voice = voice
        self._file = io.BytesIO()
        self._writer = SoundFile(self._file, "w", sample_rate, 1, subtype="PCM_16", format="WAV")
        self._samples = 0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self._samples / self.sample_rate

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._file.getbuffer())

    @property
    def base64_size(self) -> int:
        """Characters of the file in base64."""
        return (self.size + 2) // 3 * 4

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add ``(N,)`` samples within -1 and 1."""
        self._writer.write(samples)
        self._samples += len(samples)

    def finish(self) -> None:
        """Complete the header; nothing can be appended any more."""
        self._writer.close()

    def pieces(self) -> Iterator[memoryview]:
        """The file in pieces, none of them a copy."""
        view = self._file.getbuffer()
        for start in range(0, len(view), _PIECE_BYTES):
            yield view[start : start + _PIECE_BYTES]

    def base64_pieces(self) -> Iterator[bytes]:
        """The file in base64, in pieces that are made as they are asked for."""
        return map(b64encode, self.pieces())
