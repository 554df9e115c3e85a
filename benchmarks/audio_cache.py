"""Ten thousand clips through the audio cache, whose process is killed in the middle of writing, three times.

    python -m benchmarks.audio_cache [--clips 10000] [--kills 3] [--seed 0]

Another process writes clips of 1 to 300 KB from four threads and prunes meanwhile. Again and again it is stopped, and
what is in its folder, drafts too, must be within the bounds. It is killed when a draft is there to be left behind; a
third of the clips is then made to look old. After the restart, before anything is written, the folder must have every
other clip, whole, within the bounds in age, bytes and count, no draft, and there must be nothing anywhere else: the
process has a folder for temporary files and a working directory of its own. At the end the cache is cleared and must
be empty. Exits 1 where a check fails.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from benchmarks.audio_cache_writer import is_whole

ROOT = Path(__file__).parents[1]
MB = 1024 * 1024
MAX_AGE_SECONDS = 600
MAX_BYTES = 32 * MB
MAX_FILES = 200

_LOOKS = 200  # at the folder of the stopped process, in the whole run


class CheckFailed(Exception):
    """The cache did not keep what it promises; the message says what."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in the folder while nobody changes it.

    Attributes:
        clips: names of the files.
        drafts: names of the hidden ones.
        bytes: that both have.
    """

    clips: list[str]
    drafts: list[str]
    bytes: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A kill, and the start after it.

    Attributes:
        written: clips by then.
        before: what the killed process left.
        made_old: how many of its clips were then made to look old.
        after: what the next process made of it.
    """

    written: int
    before: Snapshot
    made_old: int
    after: Snapshot


@dataclass(slots=True)
class Report:
    """What a run finds; ``most_*`` in any look at the folder, drafts included."""

    look_every: int
    progress: Callable[[int], object]
    written: int = 0
    restarts: list[Restart] = field(default_factory=list)
    looks: int = 0
    most_files: int = 0
    most_bytes: int = 0
    seconds: float = 0.0

    def count(self, clips: int) -> None:
        """Clips were written."""
        self.written += clips
        self.progress(clips)


class Place:
    """Folders of the writer's own: for temporary files, the cache among them, and to work in."""

    def __init__(self, base: Path) -> None:
        self.temporary, self.work = base / "tmp", base / "work"
        self.temporary.mkdir()
        self.work.mkdir()
        self.cache = self.temporary / f"elocute-audio-{os.getuid()}"

    def look(self) -> Snapshot:
        """See what is in the cache's folder."""
        paths = sorted(self.cache.iterdir())
        return Snapshot(
            [path.name for path in paths if not path.name.startswith(".")],
            [path.name for path in paths if path.name.startswith(".")],
            sum(path.stat().st_size for path in paths),
        )

    def make_old(self, names: list[str]) -> None:
        """Make clips look as if they were put in too long ago."""
        then = time.time() - MAX_AGE_SECONDS - 1
        for name in names:
            os.utime(self.cache / name, (then, then))


class WriterProcess:
    """A running ``benchmarks.audio_cache_writer`` that has opened the cache; a context manager that ends it.

    Raises:
        CheckFailed: it cannot open the cache.
    """

    def __init__(self, place: Place, clips: int, seed: int) -> None:
        arguments = [str(number) for number in (clips, seed, MAX_AGE_SECONDS, MAX_BYTES, MAX_FILES)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.audio_cache_writer", *arguments],
            cwd=place.work,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "TMPDIR": str(place.temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        if self._stdout.readline() != b"open\n":
            self.__exit__(None, None, None)
            raise CheckFailed("The cache cannot be opened.")

    def go(self) -> None:
        """Let it write."""
        self._stdin.write(b"\n")

    def read(self) -> bytes:
        """Wait for what it says next: a dot for each clip that is in; nothing once it has ended."""
        return os.read(self._stdout.fileno(), 1 << 12)

    def stop(self) -> None:
        """Hold all its threads where they are."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Go on after :meth:`stop`."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> int:
        """End it as nothing can be caught; answers how many dots it had still written."""
        self._process.kill()
        self._process.wait()
        return self._stdout.read().count(b".")

    def wait(self) -> int:
        """Its exit status."""
        return self._process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()


def run(clips: int, kills: int, seed: int = 0, progress: Callable[[int], object] = int) -> Report:
    """Make clips, kill, start again, check, and clear at the end.

    Args:
        clips: that are to be written altogether.
        kills: how often the process is killed.
        seed: of everything random but the scheduling of threads.
        progress: called with the number of clips that are new.

    Raises:
        CheckFailed: on the first thing that is not as it should be.
    """
    rng = random.Random(seed)
    report, started = Report(max(1, clips // _LOOKS), progress), time.perf_counter()
    kill_at = [int(clips * (turn + rng.uniform(0.3, 0.9)) / (kills + 1)) for turn in range(kills)]
    with tempfile.TemporaryDirectory(prefix="elocute-audio-cache-") as base:
        place = Place(Path(base))
        left: tuple[Snapshot, list[str]] | None = None
        for turn, until in enumerate([*kill_at, None]):
            with WriterProcess(place, max(1, clips - report.written), seed + turn) as process:
                if left is not None:
                    after = check_restart(place, *left)
                    report.restarts.append(Restart(report.written, left[0], len(left[1]), after))
                process.go()
                before = watch(process, place, report, until)
                if before is not None:
                    old = rng.sample(before.clips, len(before.clips) // 3)
                    place.make_old(old)
                    left = before, old
                elif process.wait() != 0:
                    raise CheckFailed("A clip could not be written or came back broken; see above.")
        if place.look() != Snapshot([], [], 0):
            raise CheckFailed("The cache is not empty after it was cleared.")
        check_nothing_elsewhere(place)
    report.seconds = time.perf_counter() - started
    return report


def watch(process: WriterProcess, place: Place, report: Report, until: int | None) -> Snapshot | None:
    """Count what is written, look at the folder now and then, and kill in the middle of writing.

    Args:
        process: that writes.
        place: where it does.
        report: what is found goes there.
        until: so many clips are written, then kill; None for never.

    Returns:
        What the killed process left; None where it ended by itself.
    """
    look_at = report.written + report.look_every
    while said := process.read():
        report.count(said.count(b"."))
        due = until is not None and report.written >= until
        if not due and report.written < look_at:
            continue
        look_at = report.written + report.look_every
        process.stop()
        snapshot = place.look()
        check_bounds(snapshot, report)
        if due and snapshot.drafts:
            report.count(process.kill())
            return snapshot
        process.resume()
    if until is not None:
        raise CheckFailed("The process ended before it could be killed; see above.")
    return None


def check_bounds(snapshot: Snapshot, report: Report) -> None:
    """Count and bytes, drafts included."""
    files = len(snapshot.clips) + len(snapshot.drafts)
    report.looks += 1
    report.most_files = max(report.most_files, files)
    report.most_bytes = max(report.most_bytes, snapshot.bytes)
    if files > MAX_FILES or snapshot.bytes > MAX_BYTES:
        raise CheckFailed(f"The folder has {files} files of {snapshot.bytes} bytes together, beyond its bounds.")


def check_restart(place: Place, before: Snapshot, old: list[str]) -> Snapshot:
    """What a process must have made of what a killed one left, before it writes anything."""
    after = place.look()
    if after.drafts:
        raise CheckFailed(f"{len(after.drafts)} drafts were left behind.")
    if set(after.clips) & set(old):
        raise CheckFailed("A clip that was too old is still there.")
    if set(after.clips) != set(before.clips) - set(old):
        raise CheckFailed("A clip is gone, or new, without a reason.")
    if len(after.clips) > MAX_FILES or after.bytes > MAX_BYTES:
        raise CheckFailed("The folder is beyond its bounds.")
    for name in after.clips:
        if not is_whole((place.cache / name).read_bytes()):
            raise CheckFailed(f"{name} is not whole.")
    check_nothing_elsewhere(place)
    return after


def check_nothing_elsewhere(place: Place) -> None:
    """No temporary file but in the cache, and none in the working directory."""
    if list(place.work.iterdir()) or list(place.temporary.iterdir()) != [place.cache]:
        raise CheckFailed("There are files outside of the cache's folder.")


def show(report: Report) -> None:
    """The table."""
    print("killed after clips   clips left   drafts left   made old   clips after   MB after   drafts after")
    for restart in report.restarts:
        before, after = restart.before, restart.after
        print(
            f"{restart.written:18d} {len(before.clips):12d} {len(before.drafts):13d} {restart.made_old:10d} "
            f"{len(after.clips):13d} {after.bytes / MB:10.1f} {len(after.drafts):14d}"
        )
    print(
        f"{report.written} clips in {report.seconds:.1f} s; in {report.looks} looks at most {report.most_files} files "
        f"(bound {MAX_FILES}) and {report.most_bytes / MB:.2f} MB (bound {MAX_BYTES / MB:g}); cleared: empty."
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        with tqdm(total=options.clips, unit="clip") as bar:
            report = run(options.clips, options.kills, options.seed, bar.update)
    except CheckFailed as failure:
        raise SystemExit(str(failure)) from None
    show(report)


if __name__ == "__main__":
    main()
