"""The process that ``benchmarks.audio_cache`` kills: threads that put clips into the cache and read some back.

    python -m benchmarks.audio_cache_writer CLIPS SEED MAX_AGE_SECONDS MAX_BYTES MAX_FILES

Opens the cache in its default folder, says so in a line, waits for a line, writes a dot for each clip that is in, and
empties the cache at the end. Exits 1 where a clip cannot be written or comes back otherwise than it went in.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator

from app.core.temp_audio_cache import Content, TempAudioCache, default_folder

THREADS = 4
SMALLEST, LARGEST = 1 << 10, 300 << 10  # bytes of a clip
DIGEST_BYTES = 32

_PIECE_BYTES = 7000
_PRUNE_SECONDS = 0.02
_NOISE_BYTES = 1 << 20


def is_whole(clip: bytes) -> bool:
    """Whether a clip is as it was made: its first bytes are the digest of the others."""
    return hashlib.sha256(clip[DIGEST_BYTES:]).digest() == clip[:DIGEST_BYTES]


def make_clip(rng: random.Random, noise: bytes) -> bytes:
    """A clip of random length."""
    size = rng.randint(SMALLEST, LARGEST) - DIGEST_BYTES
    start = rng.randrange(len(noise) - size)
    body = noise[start : start + size]
    return hashlib.sha256(body).digest() + body


def as_content(clip: bytes, rng: random.Random) -> tuple[Content, int | None]:
    """The clip in one of the ways that the cache takes, and its size where that is told."""
    size = rng.choice((None, len(clip)))
    how = rng.randrange(3)
    return (clip, io.BytesIO(clip), _pieces(clip))[how], size


def _pieces(clip: bytes) -> Iterator[bytes]:
    for start in range(0, len(clip), _PIECE_BYTES):
        yield clip[start : start + _PIECE_BYTES]


class Writer:
    """Puts a number of clips into a cache, from several threads while another one prunes."""

    def __init__(self, cache: TempAudioCache, clips: int, seed: int) -> None:
        self._cache = cache
        self._numbers = iter(range(clips))
        self._turn = threading.Lock()
        self._seed = seed
        self._noise = random.Random(seed).randbytes(_NOISE_BYTES)
        self._ended = threading.Event()
        self.errors: list[BaseException] = []

    def run(self) -> None:
        """Do it all."""
        pruning = threading.Thread(target=self._guarded, args=(self._prune,))
        pruning.start()
        workers = [threading.Thread(target=self._guarded, args=(self._put, number)) for number in range(THREADS)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
        self._ended.set()
        pruning.join()

    def _guarded(self, work: Callable[..., None], *arguments: int) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self.errors.append(error)

    def _put(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        last: list[str] = []
        for turn in itertools.count():
            with self._turn:
                if next(self._numbers, None) is None:
                    return
            content, size = as_content(make_clip(rng, self._noise), rng)
            last = [*last[-9:], self._cache.put(content, "audio/wav", size=size)]
            os.write(1, b".")
            if turn % 5 == 0:
                self._read_back(rng.choice(last))

    def _read_back(self, id_: str) -> None:
        found = self._cache.read(id_)
        if found is not None:  # or it had to go for others
            with found[1] as file:
                assert is_whole(file.read()), "a clip came back broken"

    def _prune(self) -> None:
        while not self._ended.wait(_PRUNE_SECONDS):
            self._cache.prune()


def main() -> None:
    """The command line."""
    clips, seed, max_age, max_bytes, max_files = map(int, sys.argv[1:])
    cache = TempAudioCache(default_folder(), max_age_seconds=max_age, max_bytes=max_bytes, max_files=max_files)
    cache.open()
    print("open", flush=True)
    sys.stdin.readline()
    writer = Writer(cache, clips, seed)
    writer.run()
    if writer.errors:
        raise writer.errors[0]
    cache.clear()
    cache.close()


if __name__ == "__main__":
    main()
