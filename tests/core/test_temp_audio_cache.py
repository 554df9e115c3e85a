"""The audio cache: what is put in is found for a while, within its bounds, whatever happens around it."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.audio_cache_folder import MEDIA_TYPES
from app.core.temp_audio_cache import TempAudioCache, default_folder

ROOT = Path(__file__).parents[2]
HOUR = 3600.0


class Clock:
    """Tells the time that it is told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def make(folder: Path, clock: Clock) -> Iterator[Callable[..., TempAudioCache]]:
    made: list[TempAudioCache] = []

    def make_one(**chosen: Any) -> TempAudioCache:
        bounds: dict[str, Any] = {"max_age_seconds": HOUR, "max_bytes": 1000, "max_files": 10, "rescan_seconds": 0}
        cache = TempAudioCache(folder, clock=clock, **bounds | chosen)
        cache.open()
        made.append(cache)
        return cache

    yield make_one
    for cache in made:
        cache.close()


def content(cache: TempAudioCache, id_: str) -> bytes | None:
    found = cache.read(id_)
    if found is None:
        return None
    with found[1] as file:
        return file.read()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("media_type", sorted(MEDIA_TYPES.values()))
def test_what_is_put_in_comes_out(make: Any, clock: Clock, media_type: str) -> None:
    cache = make()
    id_ = cache.put(b"RIFF" * 9, media_type)
    audio = cache.find(id_)
    assert (audio.id, audio.size, audio.media_type) == (id_, 36, media_type)
    assert audio.created == pytest.approx(clock.now)
    assert content(cache, id_) == b"RIFF" * 9
    assert (cache.stats.files, cache.stats.bytes, cache.stats.written) == (1, 36, 1)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Audio/Ogg; codecs=opus", "audio/ogg"),
        ("audio/x-wav", "audio/wav"),
        ("text/html", "application/octet-stream"),
        ("../../etc/passwd", "application/octet-stream"),
    ],
)
def test_only_types_that_do_nothing_in_a_browser_come_back(make: Any, given: str, kept: str) -> None:
    cache = make()
    assert cache.find(cache.put(b"x", given)).media_type == kept


@pytest.mark.parametrize(
    "given",
    [
        b"abcdef",
        bytearray(b"abcdef"),
        memoryview(b"--abcdef--")[2:8],
        [b"ab", memoryview(b"cd"), b"", bytearray(b"ef")],
        io.BytesIO(b"abcdef"),
        (b"abc", b"def"),
    ],
    ids=lambda given: type(given).__name__,
)
@pytest.mark.parametrize("size", [None, 6, 2, 100])
def test_content_of_any_kind_and_any_guess_of_its_size(make: Any, given: Any, size: int | None) -> None:
    cache = make()
    if isinstance(given, io.BytesIO):
        given.seek(0)
    id_ = cache.put(given, "audio/wav", size=size)
    assert content(cache, id_) == b"abcdef"
    assert cache.stats.bytes == 6
    cache.put(bytes(994), "audio/wav")
    assert cache.stats.files == 2  # nothing stayed reserved


def test_an_empty_file_and_samples_of_another_type(make: Any) -> None:
    cache = make()
    assert content(cache, cache.put(b"", "audio/wav")) == b""
    samples = memoryview(bytearray(range(8))).cast("h")
    assert content(cache, cache.put(samples, "audio/wav")) == bytes(range(8))


def test_names_cannot_be_guessed_and_are_private(make: Any, folder: Path) -> None:
    cache = make()
    ids = {cache.put(b"x", "audio/wav") for _ in range(10)}
    assert len(ids) == 10
    assert all(len(bytes.fromhex(id_)) == 16 for id_ in ids)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "id_", ["", "nothing", "..", "../cache", "\0", "a" * 32, "é" * 32, "a" * 100_000, "٠" * 32, "{name}", "./{name}"]
)
def test_an_id_is_no_path(make: Any, folder: Path, id_: str) -> None:
    cache = make()
    cache.put(b"x", "audio/wav")
    wanted = id_.replace("{name}", names(folder)[0])
    assert cache.find(wanted) is None
    assert cache.read(wanted) is None


def test_too_old_is_not_there_and_goes_with_the_next_prune(make: Any, folder: Path, clock: Clock) -> None:
    cache = make()
    old = cache.put(b"old", "audio/wav")
    clock.now += HOUR / 2
    young = cache.put(b"young", "audio/wav")
    audio = cache.find(young)
    assert cache.seconds_left(audio) == pytest.approx(HOUR)
    clock.now += HOUR / 2
    assert cache.find(old) is None
    assert cache.read(old) is None
    assert cache.seconds_left(audio) == pytest.approx(HOUR / 2)
    assert len(names(folder)) == 2
    assert cache.prune() == 1
    assert cache.prune() == 0
    assert content(cache, young) == b"young"
    assert len(names(folder)) == 1
    assert (cache.stats.expired, cache.stats.evicted, cache.stats.pruned) == (1, 0, 1)
    clock.now += HOUR
    assert cache.seconds_left(audio) == 0


def test_the_oldest_go_for_new_ones(make: Any, clock: Clock) -> None:
    cache = make(max_bytes=100, max_files=3)
    ids = []
    for number in range(4):
        ids.append(cache.put(bytes([number]) * 20, "audio/wav"))
        clock.now += 1
    assert [cache.find(id_) is not None for id_ in ids] == [False, True, True, True]  # too many files
    ids.append(cache.put(bytes(70), "audio/wav"))
    assert [cache.find(id_) is not None for id_ in ids] == [False, False, False, True, True]  # too many bytes
    assert (cache.stats.files, cache.stats.bytes, cache.stats.evicted) == (2, 90, 3)


def test_the_bounds_hold_while_a_file_is_written(make: Any, folder: Path) -> None:
    cache = make(max_bytes=100)
    for _ in range(9):
        cache.put(bytes(10), "audio/wav")
    most = []

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(10)
            most.append(sum(path.stat().st_size for path in folder.iterdir()))

    cache.put(pieces(), "audio/wav")
    assert max(most) == 100
    assert len(most) == 10
    assert cache.stats.files == 1


def test_larger_than_everything_is_refused_and_costs_nobody(make: Any, folder: Path) -> None:
    cache = make(max_bytes=100)
    kept = cache.put(b"x", "audio/wav")
    with pytest.raises(OSError, match="larger than the 100 bytes") as raised:
        cache.put(bytes(101), "audio/wav")
    assert raised.value.errno == errno.EFBIG
    assert cache.find(kept) is not None
    with pytest.raises(OSError, match="larger"):
        cache.put([bytes(60), bytes(60)], "audio/wav")
    assert len(names(folder)) == 1
    assert (cache.stats.bytes, cache.stats.failures) == (1, 2)
    cache.put(bytes(100), "audio/wav")


def test_what_is_being_written_is_not_written_over(make: Any) -> None:
    cache = make(max_bytes=100)

    def pieces() -> Iterator[bytes]:
        yield bytes(60)
        with pytest.raises(OSError, match="being written") as raised:
            cache.put(bytes(60), "audio/wav")
        assert raised.value.errno == errno.ENOSPC
        yield bytes(10)

    id_ = cache.put(pieces(), "audio/wav")
    assert content(cache, id_) == bytes(70)


def test_removed_while_it_is_read(make: Any, folder: Path) -> None:
    cache = make(max_files=1)
    _, file = cache.read(cache.put(b"first", "audio/wav"))
    with file:
        cache.put(b"second", "audio/wav")
        assert len(names(folder)) == 1
        assert file.read() == b"first"


@pytest.mark.parametrize("bound", ["max_age_seconds", "max_bytes", "max_files"])
def test_bounds_that_let_nothing_in(folder: Path, bound: str) -> None:
    bounds: dict[str, Any] = {"max_age_seconds": 1, "max_bytes": 1, "max_files": 1, bound: 0}
    with pytest.raises(ValueError, match="above zero"):
        TempAudioCache(folder, **bounds)
    assert not folder.exists()


# --- a start on what is there -----------------------------------------------------------------------------------------


def test_another_start_finds_everything(make: Any, clock: Clock) -> None:
    first = make()
    ids = [first.put(bytes([number]), "audio/flac") for number in range(3)]
    first.close()
    clock.now += 10
    second = make()
    assert [content(second, id_) for id_ in ids] == [b"\0", b"\1", b"\2"]
    assert second.find(ids[0]).created == pytest.approx(clock.now - 10)
    assert second.find(ids[0]).media_type == "audio/flac"


def test_another_start_with_closer_bounds(make: Any, clock: Clock) -> None:
    first = make()
    ids = []
    for _ in range(6):
        ids.append(first.put(bytes(10), "audio/wav"))
        clock.now += 100
    first.close()
    second = make(max_age_seconds=450, max_bytes=1000, max_files=3)
    assert [second.find(id_) is not None for id_ in ids] == [False] * 3 + [True] * 3
    assert (second.stats.expired, second.stats.evicted) == (2, 1)


def test_others_things_are_left_alone(make: Any, folder: Path) -> None:
    first = make()
    id_ = first.put(b"x", "audio/wav")
    name = names(folder)[0]
    first.close()
    strange = [
        f"{'b' * 32}.1.exe",
        f"{'c' * 32}.wav",
        f"{'d' * 32}.01.wav",
        "notes.txt",
        ".hidden",
        f".{'e' * 31}.part",
    ]
    for other in strange:
        (folder / other).write_bytes(b"x")
    (folder / f"{'1' * 32}.1.wav").mkdir()
    (folder / f".{'2' * 32}.part").mkdir()
    (folder / f"{'3' * 32}.1.wav").symlink_to(folder / "notes.txt")
    (folder / f".{'4' * 32}.part").symlink_to(folder / "notes.txt")
    os.mkfifo(folder / f"{'5' * 32}.0.wav")
    others = set(names(folder)) - {name}
    cache = make(max_files=1)
    assert cache.stats.files == 1
    assert [cache.find(digit * 32) for digit in "135"] == [None] * 3
    assert cache.find(id_) is not None
    cache.clear()
    assert set(names(folder)) == others


def test_a_file_cut_short_is_swept_up(make: Any, folder: Path) -> None:
    first = make()
    id_ = first.put(b"abc", "audio/wav")
    first.close()
    (folder / names(folder)[0]).write_bytes(b"a")
    assert make().find(id_) is None
    assert names(folder) == []


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o777])
def test_a_folder_that_others_may_use_is_refused(make: Any, folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(PermissionError, match=f"private.*mode {mode:04o}"):
        make()


def test_somebody_else_s_folder_is_refused(make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="owner 12345"):
        make()


def test_no_folder_at_all_is_refused(make: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "real")
    with pytest.raises(NotADirectoryError, match="symbolic link"):
        make()
    folder.unlink()
    folder.write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="folder"):
        make()


def test_parents_are_made(clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    cache = TempAudioCache(folder, max_age_seconds=1, max_bytes=1, max_files=1)
    assert not folder.exists()
    cache.open()
    cache.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_default_folder_is_one_of_each_user() -> None:
    assert str(os.getuid()) in default_folder().name
    assert not default_folder().is_relative_to(ROOT)


# --- trouble while it runs --------------------------------------------------------------------------------------------


def test_not_open_or_closed(folder: Path, make: Any) -> None:
    cache = TempAudioCache(folder, max_age_seconds=1, max_bytes=1, max_files=1)
    with pytest.raises(OSError, match="not open"):
        cache.put(b"x", "audio/wav")
    assert cache.prune() == 0
    opened = make()
    id_ = opened.put(b"x", "audio/wav")
    opened.close()
    opened.close()
    opened.clear()
    assert opened.find(id_) is None
    assert len(names(folder)) == 1
    opened.open()
    assert opened.find(id_) is not None


def test_closed_while_a_file_is_written(make: Any, folder: Path) -> None:
    cache = make()

    def closing() -> Iterator[bytes]:
        yield b"ab"
        cache.close()
        yield b"cd"

    cache.put(closing(), "audio/wav")
    assert [path.read_bytes() for path in folder.iterdir()] == [b"abcd"]
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        assert str(folder) not in [str(path.readlink()) for path in list(descriptors.iterdir()) if path.is_symlink()]


def remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("rescan_seconds", [0, 1000])
def test_the_folder_vanishes_and_comes_back(make: Any, folder: Path, rescan_seconds: float) -> None:
    cache = make(rescan_seconds=rescan_seconds)
    gone = cache.put(b"gone", "audio/wav")
    remove_folder(folder)
    assert cache.read(gone) is None
    again = cache.put(b"again", "audio/wav")
    assert content(cache, again) == b"again"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (cache.stats.files, cache.stats.bytes) == (1, 5)
    remove_folder(folder)
    assert cache.prune() == 0
    assert cache.stats.files == 0


def test_the_folder_vanishes_while_a_file_is_written(make: Any, folder: Path) -> None:
    cache = make()

    def pieces() -> Iterator[bytes]:
        yield b"x"
        remove_folder(folder)
        yield b"y"

    with pytest.raises(FileNotFoundError):
        cache.put(pieces(), "audio/wav")
    assert content(cache, cache.put(b"z", "audio/wav")) == b"z"
    assert len(names(folder)) == 1


def test_a_folder_put_in_its_place_is_used_only_if_it_is_private(
    make: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make()
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="private"):
        cache.put(b"x", "audio/wav")
    assert cache.prune() == 0
    assert "cannot be pruned" in caplog.text
    assert names(folder) == []
    folder.chmod(0o700)
    assert content(cache, cache.put(b"x", "audio/wav")) == b"x"


def test_a_file_becomes_something_else(make: Any, folder: Path) -> None:
    cache = make(rescan_seconds=1000)
    ids = [cache.put(b"xx", "audio/wav") for _ in range(4)]
    paths = [folder / f"{id_}.2.wav" for id_ in ids]
    for path in paths:
        path.unlink()
    paths[0].mkdir()
    paths[1].symlink_to("/etc/hostname")
    os.mkfifo(paths[2])
    paths[3].write_bytes(b"longer")
    assert [cache.read(id_) for id_ in ids] == [None] * 4
    assert cache.stats.files == 0
    cache.put(bytes(1000), "audio/wav")


def test_a_directory_in_a_file_s_place_does_not_stop_the_others(make: Any, folder: Path) -> None:
    cache = make(rescan_seconds=1000, max_files=1)
    path = folder / f"{cache.put(b'xx', 'audio/wav')}.2.wav"
    path.unlink()
    path.mkdir()
    id_ = cache.put(b"y", "audio/wav")
    assert content(cache, id_) == b"y"
    assert path.is_dir()


def test_the_clock_is_set_back(make: Any, clock: Clock) -> None:
    cache = make()
    id_ = cache.put(b"x", "audio/wav")
    clock.now -= 100 * HOUR
    assert cache.find(id_) is not None
    assert 0 < cache.seconds_left(cache.find(id_)) <= HOUR
    clock.now += HOUR
    assert cache.find(id_) is None
    assert cache.prune() == 1


def test_the_clock_is_set_back_between_two_starts(make: Any, clock: Clock, folder: Path) -> None:
    first = make()
    id_ = first.put(b"x", "audio/wav")
    first.close()
    clock.now -= 100 * HOUR
    make().close()  # which sees to it that a third start does not take it for new again
    clock.now += HOUR / 2
    third = make()
    assert third.find(id_) is not None
    clock.now += HOUR / 2
    assert third.find(id_) is None


def test_the_clock_jumps_ahead(make: Any, clock: Clock) -> None:
    cache = make()
    old = cache.put(b"x", "audio/wav")
    clock.now += 1000 * HOUR
    new = cache.put(b"y", "audio/wav")
    assert cache.find(old) is None
    assert cache.find(new) is not None


def test_a_write_error_leaves_nothing(make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make()
    write = os.write
    written: list[int] = []

    def full(handle: int, data: memoryview) -> int:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(write(handle, data[:3]))  # and a short write before it
        return 3

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            cache.put(b"abcdef", "audio/wav")
    assert names(folder) == []
    assert (cache.stats.files, cache.stats.bytes, cache.stats.failures) == (0, 0, 1)
    cache.put(bytes(1000), "audio/wav")


def test_a_source_that_breaks_off_leaves_nothing(make: Any, folder: Path) -> None:
    cache = make()

    def pieces() -> Iterator[bytes]:
        yield b"abc"
        raise RuntimeError("the client is gone")

    with pytest.raises(RuntimeError, match="the client is gone"):
        cache.put(pieces(), "audio/wav")
    assert names(folder) == []
    assert cache.stats.failures == 1


def test_a_folder_that_cannot_be_read_is_no_catastrophe(
    make: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make()
    id_ = cache.put(b"x", "audio/wav")

    def refuse(*_: object, **__: object) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        assert cache.find("a" * 32) is None
        assert cache.prune() == 0
        assert "cannot be pruned" in caplog.text
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert cache.read(id_) is None
        assert "cannot be opened" in caplog.text
        with pytest.raises(PermissionError):
            cache.put(b"y", "audio/wav")
    assert content(cache, id_) == b"x"


LIMITED = """
import errno, resource, sys
from pathlib import Path
from app.core.temp_audio_cache import TempAudioCache

folder = Path(sys.argv[1])
cache = TempAudioCache(folder, max_age_seconds=60, max_bytes=1 << 20, max_files=10)
cache.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    cache.put(bytes(5000), "audio/wav")
except OSError as error:
    print(errno.errorcode[error.errno], len(list(folder.iterdir())), cache.stats.failures)
print(len(cache.put(bytes(4000), "audio/wav")))
"""


def test_the_kernel_refuses_to_write_on(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(folder)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.stdout.split(), ended.stderr) == (["EFBIG", "0", "1", "32"], "")
    assert len(names(folder)) == 1


# --- several threads, several processes -------------------------------------------------------------------------------


def test_several_threads(make: Any, folder: Path) -> None:
    cache = make(max_bytes=5000, max_files=20)
    wrong: list[object] = []

    def work(number: int) -> None:
        try:
            for turn in range(60):
                data = bytes([number]) * (1 + 37 * turn % 400)
                id_ = cache.put([data[:50], data[50:]] if turn % 2 else data, "audio/wav")
                found = content(cache, id_)
                if found not in (None, data):
                    wrong.append(found)
                if turn % 10 == 0:
                    cache.prune()
                stats = cache.stats
                if stats.files > 20 or stats.bytes > 5000:
                    wrong.append(stats)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    stats = cache.stats
    assert (stats.written, stats.failures) == (360, 0)
    assert stats.files + stats.pruned == 360
    assert len(names(folder)) == stats.files
    assert sum(path.stat().st_size for path in folder.iterdir()) == stats.bytes
    cache.clear()
    assert names(folder) == []


def test_two_caches_on_one_folder_see_each_other_s_files(make: Any, folder: Path, clock: Clock) -> None:
    one, other = make(max_files=3), make(max_files=3)
    id_ = one.put(b"one", "audio/wav")
    assert content(other, id_) == b"one"
    for _ in range(3):
        clock.now += 1
        other.put(b"other", "audio/wav")
    assert one.read(id_) is None
    one.put(b"one", "audio/wav")
    assert len(names(folder)) == 3
    other.clear()
    assert one.prune() == 0
    assert one.stats.files == 0


def test_a_miss_looks_at_the_folder_now_and_then_only(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, other = make(rescan_seconds=1000), make()
    id_ = other.put(b"x", "audio/wav")
    looks = []
    scandir = os.scandir

    def look(path: Any) -> Any:
        looks.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    for _ in range(100):
        assert cache.find(id_) is None
    assert looks == []
    cache.prune()
    assert cache.find(id_) is not None


WRITING = """
import sys
from pathlib import Path
from app.core.temp_audio_cache import TempAudioCache

cache = TempAudioCache(Path(sys.argv[1]), max_age_seconds=3600, max_bytes=1000, max_files=10)
cache.open()

def pieces():
    yield b"begun, "
    print("begun", flush=True)
    sys.stdin.readline()
    yield b"ended"

print(cache.put(pieces(), "audio/wav"), flush=True)
"""


@pytest.fixture
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the middle of writing a file."""
    command = [sys.executable, "-c", WRITING, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def test_what_a_living_process_writes_is_left_to_it(folder: Path, writer: Any) -> None:
    cache = TempAudioCache(folder, max_age_seconds=HOUR, max_bytes=1000, max_files=10, rescan_seconds=0)
    cache.open()
    cache.prune()
    cache.clear()
    assert [name.endswith(".part") for name in names(folder)] == [True]
    assert cache.stats.files == 0
    writer.stdin.write("\n")
    writer.stdin.flush()
    assert content(cache, writer.stdout.readline().strip()) == b"begun, ended"
    cache.close()


def test_what_a_killed_process_wrote_is_swept_up(folder: Path, writer: Any) -> None:
    cache = TempAudioCache(folder, max_age_seconds=HOUR, max_bytes=1000, max_files=10)
    cache.open()
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(names(folder)) == 1
    cache.prune()  # a living process does it for a dead one, too
    assert names(folder) == []
    cache.close()


def test_a_process_killed_before_the_start(folder: Path, writer: Any, make: Any) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert make().stats.files == 0
    assert names(folder) == []


def test_a_draft_mistaken_for_a_leftover_is_begun_anew(
    make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    cache = make()
    flock = fcntl.flock
    taken: list[str] = []

    def too_late(handle: int, how: int) -> None:
        if not taken:  # another process sees it between its making and its locking
            taken.extend(names(folder))
            (folder / taken[0]).unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", too_late)
    id_ = cache.put(b"x", "audio/wav")
    assert id_ not in taken[0]
    assert content(cache, id_) == b"x"


def test_a_file_system_without_locks_keeps_nothing(make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    cache = make()
    with pytest.raises(OSError, match="No locks"):
        cache.put(b"x", "audio/wav")
    assert names(folder) == []


def test_many_too_old_at_once_go_with_one_prune(make: Any, folder: Path, clock: Clock) -> None:
    cache = make(max_files=99)
    for _ in range(99):
        cache.put(b"x", "audio/wav")
    clock.now += HOUR
    assert cache.prune() == 99
    assert names(folder) == []
