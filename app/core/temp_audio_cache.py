"""Clips and uploads on disk for a while: bounded in age, bytes and count, under names that nobody can guess.

The index is the folder itself, read anew at start-up and where another process has changed it, so that nothing is lost
or left behind by a crash. :mod:`app.core.audio_cache_folder` has the files' names and how they are written.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias, cast

from app.core.audio_cache_folder import CachedAudio, known_media_type
from app.core.audio_cache_index import AudioCacheIndex, CacheBounds, Draft

__all__ = ["CacheStats", "CachedAudio", "Content", "TempAudioCache", "default_folder"]

_PIECE_BYTES = 1 << 16
_RESCAN_SECONDS = 1.0
_REMOVED_AT_ONCE = 20  # a thousand would keep who looks for a file waiting for 35 ms
_BREATH_SECONDS = 0.0005

_log = logging.getLogger(__name__)


class Readable(Protocol):
    """A binary file, as far as it matters here."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes, none at the end."""


Content: TypeAlias = bytes | bytearray | memoryview | Readable | Iterable[bytes | bytearray | memoryview]
"""What can be put in: bytes, a binary file from where it stands to its end, or pieces one after the other."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How the cache is, and what this process has done with it.

    Attributes:
        files: there now.
        bytes: that they have.
        written: files put in.
        expired: files removed for their age.
        evicted: files removed to keep the other bounds.
        failures: files that could not be put in.
    """

    files: int
    bytes: int
    written: int
    expired: int
    evicted: int
    failures: int

    @property
    def pruned(self) -> int:
        """Files removed, for whichever reason."""
        return self.expired + self.evicted


class TempAudioCache:
    """Files under random names in a private folder; safe from any thread.

    Within one process the bounds hold at every moment, what is being written included. Processes that share the folder
    see each other's files within a second or two, and may together be beyond the bounds for as long.

    What is no file of ours in the folder is neither counted nor touched. A file that is removed while it is read goes
    on to take room on the disk until its reader is through.

    Args:
        folder: made by :meth:`open` where it is missing, and later where it has vanished.
        max_age_seconds: after which a file is not found any more; the next :meth:`prune` removes it.
        max_bytes: of all files together.
        max_files: that there are at once.
        clock: seconds since the epoch.
        rescan_seconds: for which the folder is not looked at again for what others changed.

    Raises:
        ValueError: a bound that would let nothing in.
    """

    def __init__(  # noqa: PLR0913
        self,
        folder: Path,
        *,
        max_age_seconds: float,
        max_bytes: int,
        max_files: int,
        clock: Callable[[], float] = time.time,
        rescan_seconds: float = _RESCAN_SECONDS,
    ) -> None:
        bounds = CacheBounds(max_age_seconds, max_bytes, max_files)
        self._index = AudioCacheIndex(folder, bounds, clock, rescan_seconds)
        self._lock = threading.Lock()  # held for a look at the folder and for removals, not while a file is written
        self._written = self._failures = 0

    @property
    def stats(self) -> CacheStats:
        """How it is now."""
        with self._lock:
            index = self._index
            return CacheStats(len(index), index.bytes, self._written, index.expired, index.evicted, self._failures)

    def open(self) -> None:
        """Make or find the folder, sweep up what a killed process left behind, and prune.

        Raises:
            OSError: the folder cannot be used; the message says why.
        """
        with self._lock:
            self._index.open()
        self.prune()

    def close(self) -> None:
        """Let go of the folder; the files stay until they are too old for whoever opens it next."""
        with self._lock:
            self._index.close()

    def put(self, content: Content, media_type: str, *, size: int | None = None) -> str:
        """Keep a file; the oldest ones go where it needs their room.

        Args:
            content: of the file.
            media_type: one of the values of ``MEDIA_TYPES``; any other is given back as the last of them.
            size: of the content in bytes, where it is known: room is then made once, not piece by piece.

        Returns:
            The file's id, to find it again.

        Raises:
            OSError: the disk is full, the file larger than the whole cache may be, the folder not usable, or the
                cache not open. Nothing is left of the file then, nor if reading ``content`` raises anything.
        """
        if isinstance(content, bytes | bytearray | memoryview):
            size = memoryview(content).nbytes
        try:
            with self._lock:
                draft = self._index.begin(size or 0)
            try:
                written = self._write(draft, content)
                with self._lock:
                    self._index.publish(draft, written, known_media_type(media_type))
                    self._written += 1
            finally:
                with self._lock:
                    self._index.end(draft)
        except BaseException:
            with self._lock:
                self._failures += 1
            raise
        return draft.id

    def find(self, id: str) -> CachedAudio | None:  # noqa: A002
        """Look a file up.

        Args:
            id: of the file; anything at all, as it is only compared.

        Returns:
            The file, or None where there is none of that id or it is too old.
        """
        with self._lock:
            return self._index.get(id)

    def read(self, id: str) -> tuple[CachedAudio, BinaryIO] | None:  # noqa: A002
        """Look a file up and open it, so that it can be read to its end even if it is removed meanwhile.

        Args:
            id: as for :meth:`find`.

        Returns:
            The file and what it has in it, unbuffered and to be closed by the caller; None as for :meth:`find`, and
            where it cannot be opened, which is logged.
        """
        with self._lock:
            audio = self._index.get(id)
            if audio is None:
                return None
            try:
                handle = self._index.read(audio)
            except OSError as error:
                _log.warning("a file of the audio cache cannot be opened: %s", error)
                return None
        if handle is None:
            return None
        return audio, cast(BinaryIO, os.fdopen(handle, "rb", buffering=0))

    def seconds_left(self, audio: CachedAudio) -> float:
        """How long a file will be found yet, if its room is not needed; not below 0."""
        return self._index.seconds_left(audio)

    def prune(self) -> int:
        """Remove what is too old, then the oldest beyond the bounds, and what killed processes left behind.

        A folder that cannot be read or changed now is logged and raises nothing.

        Returns:
            How many files were removed.
        """
        removed = 0
        try:
            with self._lock:
                if not self._index.is_open:
                    return 0
                self._index.read_folder()
            while some := self._remove_old():
                removed += some
                time.sleep(_BREATH_SECONDS)
            with self._lock:
                removed += self._index.remove_surplus()
        except OSError as error:
            _log.warning("the audio cache cannot be pruned: %s", error)
        return removed

    def clear(self) -> None:
        """Remove all files.

        Raises:
            OSError: one cannot be removed.
        """
        with self._lock:
            if self._index.is_open:
                self._index.clear()

    def _remove_old(self) -> int:
        with self._lock:
            return self._index.remove_old(_REMOVED_AT_ONCE)

    def _write(self, draft: Draft, content: Content) -> int:
        """Write it all, and say how many bytes it was."""
        written = 0
        for piece in _pieces(content):
            written += len(piece)
            if written > draft.reserved:
                with self._lock:
                    self._index.extend(draft, written - draft.reserved)
            while piece:
                piece = piece[os.write(draft.handle, piece) :]  # noqa: PLW2901
        return written


def default_folder() -> Path:
    """A folder of this user's own below the system's one for temporary files."""
    return Path(tempfile.gettempdir()) / f"elocute-audio-{os.getuid()}"


def _pieces(content: Content) -> Iterator[memoryview]:
    if isinstance(content, bytes | bytearray | memoryview):
        yield memoryview(content).cast("B")
    elif hasattr(content, "read"):
        readable = cast(Readable, content)
        while piece := readable.read(_PIECE_BYTES):
            yield memoryview(piece)
    else:
        for part in content:
            yield memoryview(part).cast("B")
