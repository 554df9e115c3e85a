"""``python -m app`` from outside, with a pipeline that is only pretended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.server import listen

ROOT = Path(__file__).parents[1]

# The real entry point; only the module that the pipeline is imported from is another one.
LAUNCHER = textwrap.dedent(
    """
    import runpy, sys, time, types

    class AudioProcessingHandler:
        model_loads = {{}}
        def __init__(self, settings, budget, clips): pass
        def load(self): {load}
        def drop_caches(self): pass
        def release_unused(self): pass
        def close(self): sys.stderr.write("closed\\n")
        def analyze(self, request, cancelled):
            sys.stderr.write("analysing\\n"); sys.stderr.flush()
            {analyze}
            from app.core.errors import SilentAudio
            raise SilentAudio("silence", field="audio")

    name = "app.routers.handlers.audio_processing_handler"
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].AudioProcessingHandler = AudioProcessingHandler
    runpy.run_module("app", run_name="__main__")
    """
)

Launch = Callable[..., "Process"]


class Process:
    """A served process and what it says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.errors: list[str] = []
        assert process.stderr
        self._reader = threading.Thread(target=self.errors.extend, args=(process.stderr,), daemon=True)
        self._reader.start()

    def url(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("Elocute is at http://127.0.0.1:"), (line, self.errors)
        return line.split()[3]

    def end(self, seconds: float = 10) -> tuple[int, str, str]:
        """Exit status, the rest of the standard output, and all of the standard error."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        assert self.process.stdout
        return status, self.process.stdout.read(), "".join(self.errors)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    launched: list[Process] = []

    def start(load: str = "pass", analyze: str = "pass", **environment: str) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER.format(load=load, analyze=analyze)],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        launched.append(Process(process))
        return launched[-1]

    yield start
    for one in launched:
        one.process.kill()
        one.process.wait()
        for stream in (one.process.stdout, one.process.stderr):
            assert stream
            stream.close()


def until_ready(url: str) -> None:
    deadline = time.monotonic() + 10
    while httpx.get(f"{url}/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_cleanly(launch: Launch, sent: signal.Signals) -> None:
    server = launch()
    url = server.url()
    until_ready(url)
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}
    server.process.send_signal(sent)
    status, output, errors = server.end()
    assert (status, output) == (0, "")
    assert "closed" in errors
    assert "Traceback" not in errors
    assert "GET /health 200" in errors


def test_a_signal_lets_a_running_analysis_finish(launch: Launch, wait_for: Callable[..., None]) -> None:
    server = launch(analyze="time.sleep(0.5)")
    url = server.url()
    until_ready(url)
    answers: list[int] = []
    files = {"audio": ("a.wav", b"abc")}
    client = threading.Thread(target=lambda: answers.append(httpx.post(f"{url}/analyze", files=files).status_code))
    client.start()
    wait_for(lambda: "analysing\n" in server.errors)
    server.process.terminate()
    client.join(10)
    assert answers == [422]  # what the pretended pipeline answers with
    assert server.end()[0] == 0


def test_a_signal_ends_it_while_models_are_still_loaded(launch: Launch) -> None:
    server = launch(load="time.sleep(60)")
    httpx.get(server.url())
    server.process.terminate()
    assert server.end(5)[0] == 0


def test_it_ends_where_the_models_cannot_be_loaded(launch: Launch) -> None:
    status, _, errors = launch(load="raise ValueError('no\\nsuch model')").end()
    assert status == 1
    assert errors.splitlines()[-1] == "elocute: cannot start: no such model"
    assert "Traceback" in errors, "the log has the whole story"


def test_it_ends_where_the_audio_cache_has_no_folder(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    status, _, errors = launch(ENABLE_AUDIO_CACHE="true", AUDIO_CACHE_DIR=str(tmp_path / "taken")).end()
    assert status == 1
    last = errors.splitlines()[-1]
    assert last.startswith(f"elocute: cannot start: AUDIO_CACHE_DIR {tmp_path / 'taken'} cannot be used: ")
    assert "Errno" not in last


def test_a_wrong_setting_is_one_line_and_no_traceback(launch: Launch) -> None:
    status, output, errors = launch(PORT="70000", MAX_UPLOAD_MB="many").end()
    assert (status, output) == (2, "")
    lines = sorted(errors.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith("elocute: MAX_UPLOAD_MB should ")
    assert lines[1].startswith("elocute: PORT should ")


def test_a_port_in_use_is_one_line(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output, errors = launch(PORT=str(port)).end()
    assert (status, output) == (1, "")
    assert errors == f"elocute: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_a_host_that_is_none_is_one_line(launch: Launch) -> None:
    status, _, errors = launch(HOST="no.such.host.invalid").end()
    assert status == 1
    assert len(errors.splitlines()) == 1


def test_typos_in_the_file_are_logged(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_UPLAOD_MB=1\n", encoding="utf-8")
    server = launch()
    server.url()
    server.process.terminate()
    assert "did you mean MAX_UPLOAD_MB?" in server.end()[2]


def test_a_file_that_is_no_text_is_one_line(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe\x00")
    status, _, errors = launch().end()
    assert status == 2
    assert len(errors.splitlines()) == 1
    assert ".env" in errors


def test_small_answers_do_not_wait_for_an_acknowledgement() -> None:
    """Without TCP_NODELAY every answer takes 40 ms longer."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()) as _:
        accepted, _address = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


def test_a_process_whose_memory_stays_critical_ends_for_a_new_one(launch: Launch) -> None:
    server = launch(
        load="import app.core.memory_guard as guard; guard.RECYCLE_SECONDS = 0.1; guard.WATCH_SECONDS = 0.05",
        analyze="AudioProcessingHandler.kept = bytearray(500 << 20)",
        MEMORY_RECYCLE="true",
        MEMORY_WARNING_THRESHOLD_MB="300",
        MEMORY_CRITICAL_THRESHOLD_MB="400",
    )
    url = server.url()
    until_ready(url)
    assert httpx.post(f"{url}/analyze", files={"audio": ("a.wav", b"abc")}).status_code == 422
    status, _, errors = server.end()
    assert status == 75
    assert "exceeds critical threshold 400MB" in errors
    assert "this process ends, for a new one" in errors
    assert "closed" in errors


def test_thresholds_that_contradict_the_limit_are_one_line(launch: Launch) -> None:
    status, output, errors = launch(MEMORY_WARNING_THRESHOLD_MB="100000000").end()
    assert (status, output) == (2, "")
    assert errors.startswith("elocute: MEMORY_WARNING_THRESHOLD_MB (100000000) must be below")
    assert len(errors.splitlines()) == 1


def test_a_signal_in_the_first_moment_ends_it(launch: Launch) -> None:
    server = launch(load="time.sleep(60)")
    time.sleep(0.15)  # the interpreter is up, the service is not
    server.process.terminate()
    assert server.end(5)[0] in (0, -signal.SIGTERM)  # the latter where even the interpreter was not; never a hang
