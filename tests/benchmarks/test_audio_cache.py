"""The audio cache survives being killed, and its benchmark would notice if it did not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmarks import audio_cache
from benchmarks.audio_cache import CheckFailed, Place, Report, Snapshot

BODY = b"some clip"
CLIP = hashlib.sha256(BODY).digest() + BODY
OLD, YOUNG = "a" * 32 + ".41.wav", "b" * 32 + ".41.wav"


def test_killed_in_the_middle_of_writing() -> None:
    report = audio_cache.run(clips=600, kills=3, seed=1)
    assert report.written >= 590  # a kill may lose a dot or two
    assert len(report.restarts) == 3
    assert all(restart.before.drafts and restart.made_old and restart.after.clips for restart in report.restarts)
    assert report.most_files > 0.9 * audio_cache.MAX_FILES
    assert report.looks > 10


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.cache.mkdir()
    (place.cache / YOUNG).write_bytes(CLIP)
    return place


BEFORE = Snapshot([OLD, YOUNG], [".x.part"], 100)


def test_all_well(place: Place) -> None:
    assert audio_cache.check_restart(place, BEFORE, [OLD]).clips == [YOUNG]


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (f"tmp/{{cache}}/{OLD}", CLIP, "too old"),
        ("tmp/{cache}/.x.part", b"", "drafts"),
        ("tmp/{cache}/new", b"", "without a reason"),
        (f"tmp/{{cache}}/{YOUNG}", CLIP[:-1], "not whole"),
        ("tmp/elsewhere", b"", "outside"),
        ("work/elsewhere", b"", "outside"),
    ],
)
def test_what_a_restart_must_not_leave(place: Place, tmp_path: Path, path: str, content: bytes, message: str) -> None:
    (tmp_path / path.format(cache=place.cache.name)).write_bytes(content)
    with pytest.raises(CheckFailed, match=message):
        audio_cache.check_restart(place, BEFORE, [OLD])


def test_bounds() -> None:
    report = Report(1, print)
    audio_cache.check_bounds(Snapshot(["x"] * audio_cache.MAX_FILES, [], audio_cache.MAX_BYTES), report)
    for clips, drafts, size in ((audio_cache.MAX_FILES, 1, 0), (0, 1, audio_cache.MAX_BYTES + 1)):
        with pytest.raises(CheckFailed, match="beyond its bounds"):
            audio_cache.check_bounds(Snapshot(["x"] * clips, ["y"] * drafts, size), report)


def test_a_writer_that_cannot_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    place.cache.write_bytes(b"in the way")
    with pytest.raises(CheckFailed, match="cannot be opened"):
        audio_cache.WriterProcess(place, 1, 0)
    assert "must be a folder" in capfd.readouterr().err
