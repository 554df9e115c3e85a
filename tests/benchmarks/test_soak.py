"""The soak: what it makes of figures and answers, and a short one of the real service and of its negative control."""

from __future__ import annotations

import base64
import io
import json
import random
import signal
import socket
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.answer_checks import PART_BYTES, complain, complain_of_clip, link_to_clip
from benchmarks.bad_requests import bad_requests
from benchmarks.load_client import Load
from benchmarks.memory_cgroup import CgroupUnavailable, make_cgroup
from benchmarks.recordings import VOICE_RATE, Clip, some_phonemes
from benchmarks.requests_mix import ANALYZE, SYNTHESIZE, Item, Mix, make_mix
from benchmarks.soak_statistics import (
    Bounds,
    Ending,
    Line,
    Sample,
    after_warm_up,
    fit_line,
    growth,
    judge,
)
from benchmarks.speech_watch import SpeechWatch, parse_counters

ROOT = Path(__file__).parents[2]
FINE = Ending(answered=100, shed=10, server_errors=0, wrong=0, kills=0, exit_status=None)
FLAT = Line(0.0005, 500.0, 0.0)
GOOD = Item("good", b"", mode="scripted")
ANSWER = b'{"mode": "scripted", "words": [{"word": "bear"}]}'


@given(st.floats(-10, 10), st.floats(-1000, 1000), st.integers(0, 9))
def test_the_slope_is_found_whatever_a_few_outliers_say(slope: float, intercept: float, outliers: int) -> None:
    x = np.arange(200.0)
    y = slope * x + intercept
    y[np.arange(outliers) * 20 + 7] += 3000
    line = fit_line(x.tolist(), y.tolist())
    assert line is not None
    assert line.slope == pytest.approx(slope, abs=1e-6)
    assert line.intercept == pytest.approx(intercept, abs=1e-4)


def test_too_few_points_have_no_slope() -> None:
    assert fit_line([1, 2, 3], [1, 2, 3]) is None
    assert fit_line([5] * 20, list(range(20))) is None


def test_the_error_of_the_slope_is_that_of_the_scatter() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(400.0)
    slopes = [fit_line(x.tolist(), rng.normal(0, 5, 400).tolist()) for _ in range(200)]
    found = [line.slope for line in slopes if line]
    claimed = [line.error for line in slopes if line]
    assert np.std(found) == pytest.approx(np.mean(claimed), rel=0.35)  # the outliers that are dropped lower it


def samples(counts: range, growth_at: int, per_request: float) -> list[Sample]:
    def rss(n: int) -> float:
        return 500 + min(n, growth_at) + max(0, n - growth_at) * per_request

    return [Sample(n / 10, n, rss(n), rss(n) - 50, rss(n) - 60) for n in counts]


def test_growth_is_that_of_the_second_half() -> None:
    line = growth(samples(range(0, 1000, 10), 400, 0.002))
    assert line is not None
    assert 1000 * line.slope == pytest.approx(2.0)
    assert growth([]) is None


@pytest.mark.parametrize(("total", "warm"), [(3000, 200), (1000, 70), (10, 10)])
def test_the_warm_up_is_200_requests_or_a_part_of_a_short_run(total: int, warm: int) -> None:
    sample = after_warm_up(samples(range(0, total + 1, 10), 0, 0))
    assert sample is not None
    assert sample.requests == warm


@pytest.mark.parametrize(
    ("said", "line", "peak", "ending"),
    [
        ("want of memory: 1", FLAT, 500, replace(FINE, kills=1)),
        ("ended by itself with status 0", FLAT, 500, replace(FINE, exit_status=0)),
        ("5xx", FLAT, 500, replace(FINE, server_errors=1)),
        ("/health", FLAT, 500, replace(FINE, health_failures=1)),
        ("should get", FLAT, 500, replace(FINE, wrong=1)),
        ("grows by 1.10", Line(0.0011, 500, 0), 500, replace(FINE, answered=1000, shed=0)),
        ("peak of RSS is 901", FLAT, 901, FINE),
        ("not 503", FLAT, 500, replace(FINE, shed=51)),
        ("not 503", FLAT, 500, replace(FINE, answered=0, shed=0)),
    ],
)
def test_each_bound_fails_alone_and_says_so(said: str, line: Line | None, peak: float, ending: Ending) -> None:
    assert judge(Bounds(), FLAT, FLAT, 900, FINE) == []
    failures = judge(Bounds(), line, FLAT, peak, ending)
    assert len(failures) == 1
    assert said in failures[0]


def test_without_any_line_a_run_cannot_pass() -> None:
    [failure] = judge(Bounds(), None, None, 500, FINE)
    assert "too few samples" in failure
    assert judge(Bounds(), None, FLAT, 500, FINE) == []


def test_a_short_run_fails_only_beyond_its_error_and_first_uses() -> None:
    growing = Line(0.02, 500, 0.005)  # 20 MB per 1,000 requests; 10 are its error, another 10 what 5 MB make in 500
    assert judge(Bounds(), growing, FLAT, 500, replace(FINE, answered=999)) == []
    assert "at rest grows" in judge(Bounds(), growing, FLAT, 500, replace(FINE, answered=1000))[0]
    certain = Line(0.02, 500, 0.004)
    assert "at rest grows" in judge(Bounds(), certain, FLAT, 500, replace(FINE, answered=999))[0]


def test_under_load_only_growth_beyond_the_error_fails() -> None:
    assert judge(Bounds(), FLAT, Line(0.005, 500, 0.0021), 500, FINE) == []
    [failure] = judge(Bounds(), FLAT, Line(0.005, 500, 0.0019), 500, FINE)
    assert "under load grows by 5.00 ± 1.90" in failure


def test_rests_and_load_have_a_line_each() -> None:
    mixed = [replace(s, at_rest=n % 2 == 0, rss=s.rss + 40 * (n % 2)) for n, s in enumerate(samples(range(400), 0, 0))]
    line = growth(mixed, at_rest=True)
    assert line is not None
    assert line.intercept == pytest.approx(500)
    loaded = growth(mixed)
    assert loaded is not None
    assert loaded.intercept == pytest.approx(540)


@pytest.mark.parametrize(
    ("item", "status", "retry_after", "content", "said"),
    [
        (GOOD, 200, None, ANSWER, ""),
        (GOOD, 503, "3", b"{}", ""),
        (GOOD, 503, None, b"{}", "Retry-After"),
        (GOOD, 503, "0", b"{}", "Retry-After"),
        (GOOD, 500, None, b"oh no", "500 instead of 200: oh no"),
        (GOOD, 200, None, b"<html>", "no JSON"),
        (GOOD, 200, None, ANSWER.replace(b"scripted", b"unscripted"), "does not fit"),
        (GOOD, 200, None, b'{"mode": "scripted", "words": []}', "does not fit"),
        (replace(GOOD, expected=frozenset((413, 415))), 415, None, b"{}", ""),
        (replace(GOOD, expected=frozenset((413, 415))), 200, None, ANSWER, "200 instead of 413 or 415"),
    ],
)
def test_an_answer_that_does_not_fit_is_noticed(
    item: Item, status: int, retry_after: str | None, content: bytes, said: str
) -> None:
    complaint = complain(item, status, retry_after, content)
    assert said in complaint
    assert bool(complaint) == bool(said)


def wav(seconds: float, peak: int = 10_000, rate: int = VOICE_RATE) -> bytes:
    """A tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((peak * np.sin(np.arange(round(seconds * rate)) / 20)).astype("<i2").tobytes())
    return file.getvalue()


SPEECH = Item("speech", b"{}", path=SYNTHESIZE, seconds=4.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (wav(4), ""),
        (wav(1.7), ""),
        (wav(9), ""),
        (wav(1.5), "1.50 s, where about 4.00 s"),
        (wav(10), "10.00 s, where about 4.00 s"),
        (wav(4, peak=100), "silent"),
        (wav(4, rate=16_000), "16000 Hz"),
        (wav(4)[:-100], "that says it has 192000"),
        (wav(4)[:20], "no WAV"),
        (b"{}", "no WAV"),
    ],
)
def test_speech_that_cannot_be_what_was_asked_for_is_noticed(content: bytes, said: str) -> None:
    complaint = complain(SPEECH, 200, None, content)
    assert said in complaint
    assert bool(complaint) == bool(said)


def analysis(reference: object, *warnings: str) -> bytes:
    fields = {"mode": "scripted", "words": [{}], "reference_audio": reference, "warnings": warnings}
    return json.dumps(fields).encode()


def test_an_analysis_has_the_clip_that_was_asked_for() -> None:
    inline, linked = (replace(GOOD, reference=how, seconds=4.0) for how in ("inline", "whole"))
    clip = {"base64": base64.b64encode(wav(4)).decode()}
    assert complain(inline, 200, None, analysis(clip)) == ""
    assert complain(inline, 200, None, analysis(None, "The service is short of memory.")) == ""
    assert "no clip: The disk is full" in complain(inline, 200, None, analysis(None, "The disk is full."))
    assert "no clip" in complain(inline, 200, None, analysis(None))
    assert "silent" in complain(inline, 200, None, analysis({"base64": base64.b64encode(wav(4, 0)).decode()}))
    assert complain(linked, 200, None, analysis({"url": "/audio/1"})) == ""
    assert "a link to 'audio'" in complain(linked, 200, None, analysis({"url": "audio"}))
    assert "nobody asked" in complain(GOOD, 200, None, analysis(clip))
    assert link_to_clip(linked, 200, analysis({"url": "/audio/1"})) == "/audio/1"
    assert link_to_clip(linked, 200, analysis(None)) is link_to_clip(GOOD, 200, ANSWER) is None


def test_a_link_leads_to_the_clip_or_to_the_part_that_was_asked_for() -> None:
    whole, part = (replace(GOOD, reference=how, seconds=4.0) for how in ("whole", "range"))
    content = wav(4)
    beginning, right = content[:PART_BYTES], f"bytes 0-{PART_BYTES - 1}/{len(content)}"
    assert complain_of_clip(whole, 200, None, content) == ""
    assert "404 instead of 200: gone" in complain_of_clip(whole, 404, None, b"gone")
    assert "expected" in complain_of_clip(whole, 200, None, wav(1))
    assert complain_of_clip(part, 206, right, beginning) == ""
    assert "200 instead of 206" in complain_of_clip(part, 200, None, content)
    for content_range, wrong in (
        (right, beginning[:-1]),
        (right, content[1 : PART_BYTES + 1]),
        (f"bytes 0-{PART_BYTES - 1}/*", beginning),
        (None, beginning),
    ):
        assert "bytes that begin" in complain_of_clip(part, 206, content_range, wrong)


@pytest.mark.parametrize("speech", [True, False])
def test_a_mix_asks_for_speech_unless_nobody_can_speak(speech: bool) -> None:
    mix = make_mix(40, 2.0, 1, speech=speech)
    drawn = [mix.draw() for _ in range(600)]
    spoken = [item for item in drawn if item.path == SYNTHESIZE and 200 in item.expected]
    references = [item.reference for item in drawn if item.reference]
    if speech:
        assert 40 <= len(spoken) <= 80  # a tenth of all, as every good one comes up equally often
        assert {bool(json.loads(item.body).get("text")) for item in spoken} == {True, False}
        assert set(references) == {"inline", "whole", "range"}
        scripted = [item for item in drawn if item.mode == "scripted"]
        assert 0.05 <= references.count("inline") / len(scripted) <= 0.15
    else:
        assert not references
        assert {item.path for item in drawn} == {ANALYZE}


@pytest.mark.parametrize("seconds", [0.01, 3.0, 90.0])
def test_phonemes_are_as_many_as_may_be_sent_at_most(seconds: float) -> None:
    phonemes, expected = some_phonemes(seconds, random.Random(1))
    assert 2 <= len(phonemes) <= 300
    assert expected == pytest.approx(0.075 * len(phonemes))


def test_the_watch_sees_a_folder_beyond_its_bounds_and_what_is_left_in_it(tmp_path: Path) -> None:
    bounds = {"AUDIO_CACHE_MAX_MB": "1", "AUDIO_CACHE_MAX_FILES": "2", "AUDIO_CACHE_DIR": str(tmp_path)}
    with SpeechWatch(bounds) as watch:
        watch.look()
        (tmp_path / "a.wav").write_bytes(bytes(2**20 - 10))
        (tmp_path / ".b.part").write_bytes(bytes(10))
        watch.look()
        assert watch.failures() == []
        (tmp_path / "c.wav").write_bytes(bytes(1))
        watch.ended()
    watch.counters = parse_counters("elocute_audio_cache_failures_total 3.0")
    bytes_, files, failed, left = watch.failures()
    assert (watch.looks, watch.most_bytes, watch.most_files, watch.drafts) == (3, 2**20 + 1, 3, 1)
    assert "1048577 bytes, more than 1048576" in bytes_
    assert "3 files, more than 2" in files
    assert "could not write: 3" in failed
    assert "half written in the audio cache: 1" in left


def test_counters_are_read_by_name_and_label() -> None:
    text = '# TYPE elocute_model_loads counter\nelocute_model_loads_total{model="tts"} 7.0\nelocute_x 1.5\n'
    assert parse_counters(text) == {"elocute_model_loads_total tts": 7.0, "elocute_x": 1.5}


def test_the_same_seed_draws_the_same_and_every_bad_kind_comes_up() -> None:
    good = [Item(str(number), b"") for number in range(10)]
    bad = [Item(f"bad {number}", b"") for number in range(8)]
    first, second, other = (Mix(good, bad, seed, 0.1) for seed in (1, 1, 2))
    drawn = [first.draw().kind for _ in range(400)]
    assert drawn == [second.draw().kind for _ in drawn]
    assert drawn != [other.draw().kind for _ in drawn]
    assert {kind for kind in drawn if kind.startswith("bad")} == {item.kind for item in bad}
    assert 20 <= sum(kind.startswith("bad") for kind in drawn) <= 60


def test_clients_end_when_nobody_listens_and_say_it_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Load(port, Mix([GOOD], [], 1, 0.0), 3, None) as load:
        while not load.over:
            load.wait(3, 0.1)
    assert load.outcomes.server_errors == load.outcomes.done == 3
    assert "no answer" in load.outcomes.notes[0]


def soak(tmp_path: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, everything that was said, and the report."""
    command = [sys.executable, "-m", "benchmarks.soak", "--report", str(tmp_path / "report.json"), *arguments]
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False
    )
    report = tmp_path / "report.json"
    return done.returncode, done.stdout, json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}


def kinds_of_bad_requests() -> set[str]:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    return {item.kind for item in bad_requests([Clip(noise, "bear")] * 2, random.Random(0))}


def test_the_service_passes_a_short_soak(tmp_path: Path) -> None:
    picture = tmp_path / "soak.png"
    status, said, report = soak(
        tmp_path,
        *("--requests", "96", "--concurrency", "4", "--pool", "10", "--max-seconds", "3", "--bad-share", "0.6"),
        *("--slope-bound", "1e6", "--peak-bound", "4000", "--plot", str(picture)),  # so few say nothing of a slope
        *("--env", "AUDIO_CACHE_MAX_FILES=12"),  # so few do not fill it
    )
    assert status == 0, said
    assert said.rstrip().endswith("PASS")
    assert report["passed"]
    assert report["requests"] == 96 == sum(report["statuses"].values())
    assert set(report["statuses"]) == {"200", "400", "404", "413", "415", "422", "hung up"}
    assert report["kinds"].keys() >= kinds_of_bad_requests() | {"speech of a text", "speech of phonemes"}
    speech = report["speech"]
    assert speech["voice_loads"] >= 1
    assert speech["speech_seconds"] > 10
    clips = speech["clips"]
    assert clips["written"] - clips["evicted"] == clips["most_files"] == clips["max_files"] == 12
    assert 0 < clips["most_bytes"] < clips["max_bytes"]
    assert clips["failures"] == clips["drafts_left"] == 0
    assert f"{clips['evicted']:.0f} evicted" in said
    assert report["kills"] == 0
    memory = report["memory_mb"]
    assert 50 < memory["at_the_end"]["uss"] <= memory["at_the_end"]["pss"] <= memory["at_the_end"]["rss"]
    assert memory["at_the_end"]["rss"] <= memory["peak_rss"]
    assert report["health_seconds"]["max"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    if report["cgroup"] == "no cgroup":
        assert "Going on without one" in said
    else:
        assert 0 < memory["peak_working_set"] < 4096


def test_the_negative_control_is_killed_where_it_has_a_limit(tmp_path: Path) -> None:
    try:
        make_cgroup(1 << 30).remove()
    except CgroupUnavailable as error:
        pytest.skip(str(error))
    status, said, report = soak(
        tmp_path,
        *("--leaky", "--limit-mib", "500", "--concurrency", "2"),
        *("--pool", "8", "--max-seconds", "3", "--bad-share", "0"),
    )
    assert status == 1, said
    assert report["kills"] >= 1
    assert report["exit_status"] == -signal.SIGKILL
    assert set(report["statuses"]) <= {"200", "no answer"}  # it fails for its memory alone
    assert report["statuses"]["200"] > 0
    assert report["speech"] is None
    assert "FAIL: the kernel killed" in said


def test_a_soak_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "5", "--pool", "3", "--max-seconds", "1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        env={"PATH": "/bin:/usr/bin", "TMPDIR": str(tmp_path)},
    )
    assert process.stderr
    with process.stderr:
        said = b""
        while b"RSS" not in said:  # of the progress bar: requests are being sent
            said += (piece := process.stderr.read1(4096))  # type: ignore[attr-defined]
            assert piece, said
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert process.wait(30) == 130, said
    assert b"Interrupted" in said
    assert not list(tmp_path.iterdir())
