"""The private folder of the audio cache: whole files under names that say all about them, drafts, and nothing else.

A file is written under a hidden name and then renamed, so that it is there whole or not at all. ``O_TMPFILE`` and a
link would leave nothing to sweep up, but not every file system has it (older overlays do not), so that this way would
be needed anyway. A draft is locked (``flock``) by who writes it: the kernel lets go of the lock of a killed process,
whatever its pid, so that a draft that can be locked is a leftover. In containers every process has the pid 1.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path

MEDIA_TYPES: dict[str, str] = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "mp3": "audio/mpeg",
    "webm": "audio/webm",
    "m4a": "audio/mp4",
    "bin": "application/octet-stream",
}
"""By the extension; whatever is put in as another type comes back as the last one."""

_EXTENSIONS = {media_type: extension for extension, media_type in MEDIA_TYPES.items()} | {
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/x-flac": "flac",
    "audio/mp3": "mp3",
    "audio/x-m4a": "m4a",
    "application/ogg": "ogg",
}
_ID = r"[0-9a-f]{32}"
_FILE = re.compile(rf"({_ID})\.(0|[1-9][0-9]{{0,17}})\.({'|'.join(MEDIA_TYPES)})", re.ASCII)
_DRAFT = re.compile(rf"\.{_ID}\.part", re.ASCII)
_TICK_SECONDS = 0.1  # within it two changes of a folder may bear the same time


@dataclass(frozen=True, slots=True)
class CachedAudio:
    """What is known of a file.

    Attributes:
        id: its public name, 128 random bits as 32 hexadecimal digits.
        size: in bytes.
        created: seconds since the epoch, the file's modification time.
        media_type: one of the values of ``MEDIA_TYPES``.
    """

    id: str
    size: int
    created: float
    media_type: str

    @property
    def extension(self) -> str:
        """That fits the media type, without a dot."""
        return _EXTENSIONS[self.media_type]

    @property
    def file_name(self) -> str:
        """The name in the folder: id, size and extension; a file of another size was cut short by a power failure."""
        return f"{self.id}.{self.size}.{self.extension}"


def known_media_type(media_type: str) -> str:
    """The one of ``MEDIA_TYPES`` that a media type means, its parameters aside."""
    return MEDIA_TYPES[_EXTENSIONS.get(media_type.partition(";")[0].strip().lower(), "bin")]


def make_id() -> str:
    """A new public name that nobody can guess."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether it could be a public name."""
    return re.fullmatch(_ID, text, re.ASCII) is not None


class AudioCacheFolder:
    """The folder by its descriptor, so that nothing is ever looked up by a path that could change its meaning.

    Not for several threads at once. Every method but :meth:`open` and :meth:`close` raises OSError where the folder
    is not open.

    Args:
        path: of the folder; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        self._seen: int | None = None

    def open(self) -> None:
        """Make the folder where it is missing, and take hold of it.

        Raises:
            OSError: it cannot be made or read, is a symbolic link or no folder, or others than its owner, whom we
                must be, may use it.
        """
        if os.open not in os.supports_dir_fd:
            raise OSError(errno.ENOTSUP, "The audio cache needs a system with POSIX files")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise NotADirectoryError(
                    errno.ENOTDIR, "The audio cache must be a folder, no symbolic link or file", str(self.path)
                ) from None
            raise
        found = os.fstat(handle)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            os.close(handle)
            raise PermissionError(
                errno.EPERM,
                f"The audio cache must be private (owner {os.geteuid()}, mode 0700), but its owner is {found.st_uid} "
                f"and its mode {stat.S_IMODE(found.st_mode):04o}; chmod 700 it, or choose a folder that is not there",
                str(self.path),
            )
        self.close()
        self._handle, self._seen = handle, None

    def close(self) -> None:
        """Let go of the folder; the files stay."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def is_there(self) -> bool:
        """Whether the path still leads to the folder that was opened."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._handle), self.path.lstat())
        return False

    def has_changed(self) -> bool:
        """Whether files may have come or gone since the last :meth:`scan`, by whomever."""
        return os.fstat(self._handle).st_mtime_ns != self._seen

    def scan(self) -> list[CachedAudio]:
        """Read the folder, the oldest file first, and remove the drafts of dead processes and files cut short.

        Everything whose name is not of ours, and what is no plain file, is left alone and passed over.
        """
        changed = os.fstat(self._handle).st_mtime_ns
        found = []
        with os.scandir(self._handle) as entries:
            for entry in entries:
                if _DRAFT.fullmatch(entry.name):
                    self._remove_if_left(entry.name)
                elif parts := _FILE.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # another process was faster
                        if audio := self._look_at(entry, parts):
                            found.append(audio)
        self._seen = changed if time.time() - changed / 1e9 > _TICK_SECONDS else None
        return sorted(found, key=lambda audio: audio.created)

    def create(self) -> tuple[str, int]:
        """Begin a file.

        Returns:
            A new id, whose hidden name the draft has, and a descriptor to write to, which holds the lock until it is
            closed.

        Raises:
            FileNotFoundError: the folder is gone.
        """
        while True:
            draft = make_id()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(_draft_name(draft), flags, 0o600, dir_fd=self._handle)
            try:
                if _lock(handle) and os.fstat(handle).st_nlink:
                    return draft, handle
            except OSError:
                os.close(handle)
                self.discard(draft)
                raise
            os.close(handle)  # another process took it for a leftover before it was locked
            self.discard(draft)

    def publish(self, draft: str, handle: int, audio: CachedAudio) -> None:
        """Give what was written its name and its time, which makes it a file of the cache.

        Raises:
            FileNotFoundError: the folder is gone, and the draft with it.
        """
        os.utime(handle, (audio.created, audio.created))
        os.rename(_draft_name(draft), audio.file_name, src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def discard(self, draft: str) -> None:
        """Remove a draft, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(_draft_name(draft), dir_fd=self._handle)

    def remove(self, audio: CachedAudio) -> None:
        """Remove a file.

        Raises:
            OSError: it is still there.
        """
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(audio.file_name, dir_fd=self._handle)

    def read(self, audio: CachedAudio) -> int | None:
        """Open a file.

        Returns:
            A descriptor to read from, or None where the file is gone or something else has its name.

        Raises:
            OSError: it is there and cannot be opened.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would block
        try:
            handle = os.open(audio.file_name, flags, dir_fd=self._handle)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return None
            raise
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode) and found.st_size == audio.size:
            return handle
        os.close(handle)
        return None

    def set_time(self, audio: CachedAudio) -> None:
        """Make a file as old as the index has it, if possible."""
        with contextlib.suppress(OSError):
            os.utime(audio.file_name, (audio.created,) * 2, dir_fd=self._handle, follow_symlinks=False)

    def _look_at(self, entry: os.DirEntry[str], parts: re.Match[str]) -> CachedAudio | None:
        found = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            return None
        name, size, extension = parts.groups()
        if found.st_size == int(size):
            return CachedAudio(name, found.st_size, found.st_mtime, MEDIA_TYPES[extension])
        os.unlink(entry.name, dir_fd=self._handle)
        return None

    def _remove_if_left(self, name: str) -> None:
        with contextlib.suppress(OSError):  # gone, or no lock to be had
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._handle)
            try:
                if stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle):
                    os.unlink(name, dir_fd=self._handle)
            finally:
                os.close(handle)


def _draft_name(draft: str) -> str:
    return f".{draft}.part"


def _lock(handle: int) -> bool:
    """Whether nobody else had locked it."""
    import fcntl  # not everywhere

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
