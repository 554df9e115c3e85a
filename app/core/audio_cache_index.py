"""What the audio cache knows of its folder, and how it keeps its bounds; for one thread at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from app.core.audio_cache_folder import AudioCacheFolder, CachedAudio, is_id

_JUMP_SECONDS = 1.0  # a clock that goes back by more was set


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """What the files of the cache may have.

    Attributes:
        max_age_seconds: after which a file is not found any more.
        max_bytes: of all files together.
        max_files: that there are at once.

    Raises:
        ValueError: one would let nothing in.
    """

    max_age_seconds: float
    max_bytes: int
    max_files: int

    def __post_init__(self) -> None:
        if not (self.max_age_seconds > 0 and self.max_bytes > 0 and self.max_files > 0):
            raise ValueError("The bounds of the audio cache must be above zero.")


@dataclass(slots=True)
class Draft:
    """A file that is being written.

    Attributes:
        id: that it will have.
        handle: to write to.
        reserved: bytes that it may have by now.
        published: it has become a file of the cache.
    """

    id: str
    handle: int
    reserved: int
    published: bool = False


class AudioCacheIndex:
    """The files of a folder, oldest first, and the drafts on their way there; together they keep the bounds.

    Args:
        path: of the folder.
        bounds: of the files.
        clock: seconds since the epoch.
        rescan_seconds: for which the folder is not looked at again for what others changed.

    Attributes:
        bytes: of all files.
        expired: files removed for their age.
        evicted: files removed to keep the other bounds.
    """

    def __init__(self, path: Path, bounds: CacheBounds, clock: Callable[[], float], rescan_seconds: float) -> None:
        self.bytes = self.expired = self.evicted = 0
        self._folder, self._bounds = AudioCacheFolder(path), bounds
        self._clock, self._rescan_seconds = clock, rescan_seconds
        self._files: dict[str, CachedAudio] = {}
        self._drafts = self._reserved = 0
        self._latest = self._scanned = -float("inf")
        self._opened = False

    def __len__(self) -> int:
        return len(self._files)

    @property
    def is_open(self) -> bool:
        """Whether :meth:`open` was called, and not :meth:`close`."""
        return self._opened

    def open(self) -> None:
        """Take hold of the folder, and read it.

        Raises:
            OSError: it cannot be used; the message says why.
        """
        self._folder.open()
        self._opened = True
        self.read_folder()

    def close(self) -> None:
        """Let go of the folder, once the last draft has ended."""
        self._opened = False
        self._files, self.bytes = {}, 0
        if not self._drafts:
            self._folder.close()

    def get(self, id: str) -> CachedAudio | None:  # noqa: A002
        """The file of an id, unless it is too old."""
        if not self._opened:
            return None
        now = self._now()
        if id not in self._files and is_id(id):
            with contextlib.suppress(OSError):
                self._look_for_changes()
        audio = self._files.get(id)
        return None if audio is None or self._is_old(audio, now) else audio

    def read(self, audio: CachedAudio) -> int | None:
        """Open a file; one that has vanished is forgotten.

        Returns:
            A descriptor, or None where it has vanished.

        Raises:
            OSError: it cannot be opened.
        """
        handle = self._folder.read(audio)
        if handle is None:
            self._forget(audio)
        return handle

    def begin(self, size: int) -> Draft:
        """Begin a file, with room for ``size`` bytes.

        Raises:
            OSError: there is no room for it, or the folder cannot be used.
        """
        if not self._opened:
            raise OSError(errno.EBADF, "The audio cache is not open")
        self._look_for_changes()
        self._make_room(0, size, files=1)
        try:
            id_, handle = self._folder.create()
        except FileNotFoundError:  # the folder was removed just now
            self.read_folder()
            self._make_room(0, size, files=1)
            id_, handle = self._folder.create()
        self._drafts += 1
        self._reserved += size
        return Draft(id_, handle, size)

    def extend(self, draft: Draft, size: int) -> None:
        """Make room for ``size`` bytes more.

        Raises:
            OSError: there is none.
        """
        self._make_room(draft.reserved, size)
        draft.reserved += size
        self._reserved += size

    def publish(self, draft: Draft, size: int, media_type: str) -> None:
        """Make a draft of ``size`` bytes a file of the cache.

        Raises:
            OSError: the folder is gone.
        """
        audio = CachedAudio(draft.id, size, self._now(), media_type)
        self._folder.publish(draft.id, draft.handle, audio)
        draft.published = True
        self._files[audio.id] = audio
        self.bytes += size

    def end(self, draft: Draft) -> None:
        """Give back what was reserved for a draft, and remove it where it was not published; to be called once."""
        self._drafts -= 1
        self._reserved -= draft.reserved
        if not draft.published:
            self._folder.discard(draft.id)
        os.close(draft.handle)
        if not (self._opened or self._drafts):
            self._folder.close()

    def read_folder(self) -> None:
        """Learn anew what there is, after making the folder where it has vanished; leftovers go.

        Raises:
            OSError: the folder cannot be made or read.
        """
        if not self._folder.is_there():
            self._folder.open()
        found = self._folder.scan()
        self._files = {audio.id: audio for audio in found}
        self.bytes = sum(audio.size for audio in found)
        self._scanned = time.monotonic()
        self._heed_the_clock(self._clock())

    def remove_old(self, most: int) -> int:
        """Remove files that are too old, ``most`` at once; those that cannot be are not found any more, in any case.

        Returns:
            How many it was.
        """
        before, now = self.expired, self._now()
        for audio in [audio for audio in self._files.values() if self._is_old(audio, now)]:
            with contextlib.suppress(OSError):
                self._remove(audio)
                self.expired += 1
            if self.expired - before == most:
                break
        return self.expired - before

    def remove_surplus(self) -> int:
        """Remove the oldest files beyond the bounds, after a start with closer ones or by another process.

        Returns:
            How many it was.

        Raises:
            OSError: one cannot be removed.
        """
        before = self.evicted
        self._make_room(0, 0)
        return self.evicted - before

    def clear(self) -> None:
        """Remove all files.

        Raises:
            OSError: one cannot be removed.
        """
        self.read_folder()
        for audio in list(self._files.values()):
            self._remove(audio)

    def seconds_left(self, audio: CachedAudio) -> float:
        """Until a file is too old, 0 if it is."""
        bound = self._bounds.max_age_seconds
        return max(0.0, min(bound, audio.created + bound - self._clock()))

    def _make_room(self, had: int, size: int, *, files: int = 0) -> None:
        """Remove the oldest files until a draft that has ``had`` bytes may have ``size`` more.

        Raises:
            OSError: it would not fit if all were removed, or one cannot be removed.
        """
        bounds = self._bounds
        if had + size > bounds.max_bytes:
            raise OSError(errno.EFBIG, f"The file is larger than the {bounds.max_bytes} bytes of the audio cache")
        if self._reserved + size > bounds.max_bytes or self._drafts + files > bounds.max_files:
            raise OSError(errno.ENOSPC, "The audio cache is full of files that are being written")
        files += self._drafts
        size += self._reserved
        while self.bytes + size > bounds.max_bytes or len(self._files) + files > bounds.max_files:
            self._remove(next(iter(self._files.values())))
            self.evicted += 1

    def _look_for_changes(self) -> None:
        if time.monotonic() - self._scanned >= self._rescan_seconds and (
            not self._folder.is_there() or self._folder.has_changed()
        ):
            self.read_folder()

    def _is_old(self, audio: CachedAudio, now: float) -> bool:
        return now - audio.created >= self._bounds.max_age_seconds

    def _now(self) -> float:
        now = self._clock()
        if now < self._latest - _JUMP_SECONDS:
            self._heed_the_clock(now)
        self._latest = now
        return now

    def _heed_the_clock(self, now: float) -> None:
        """Take what was made in the future for made now: after the clock was set back it would stay for too long."""
        for audio in [audio for audio in self._files.values() if audio.created > now + _JUMP_SECONDS]:
            self._files[audio.id] = set_back = replace(audio, created=now)
            self._folder.set_time(set_back)

    def _remove(self, audio: CachedAudio) -> None:
        self._folder.remove(audio)
        self._forget(audio)

    def _forget(self, audio: CachedAudio) -> None:
        if self._files.pop(audio.id, None) is not None:
            self.bytes -= audio.size
