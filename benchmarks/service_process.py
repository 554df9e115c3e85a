"""Starts the service (or its negative control) as a child, in a memory cgroup where one is given, and watches it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.memory_cgroup import MEGABYTE, MemoryCgroup

ROOT = Path(__file__).parents[1]
SERVICE = "app"
NEGATIVE_CONTROL = "benchmarks.leaky"

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "ORT_DISABLE_TELEMETRY")  # nothing that is a setting of the service
_STOP_SECONDS = 20.0


class ServiceFailed(Exception):
    """The service did not come up; the message has the end of its log."""


class ServiceProcess:
    """A running service; a context manager that stops it.

    Args:
        module: what ``python -m`` runs; it prints a line with its address once it listens.
        cgroup: to start it in.
        environment: settings and other variables beyond the few that are passed on.

    Attributes:
        pid: of the service.
        port: on 127.0.0.1.

    Raises:
        ServiceFailed: it cannot even be started.
    """

    def __init__(
        self,
        module: str = SERVICE,
        cgroup: MemoryCgroup | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="elocute-soak-")  # no .env in it
        self._log = Path(self._folder.name) / "log"
        self._output = Path(self._folder.name) / "output"
        command = [sys.executable, "-m", module]
        passed = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        try:
            with self._log.open("wb") as log, self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    cgroup.command(command) if cgroup else command,
                    cwd=self._folder.name,
                    env={**passed, "PYTHONPATH": str(ROOT), "HOST": "127.0.0.1", "PORT": "0", **(environment or {})},
                    stdout=output,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                )
        except OSError as error:
            self._folder.cleanup()
            raise ServiceFailed(f"the service cannot be started: {error}") from None
        self.pid = self._process.pid
        self.port = 0
        self._status = psutil.Process(self.pid)

    def __enter__(self) -> ServiceProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def wait_until_ready(self, seconds: float = 120.0) -> None:
        """Wait for its address and then for /ready.

        Raises:
            ServiceFailed: it ended, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            if self.exit_status is not None:
                raise ServiceFailed(f"the service ended with status {self.exit_status}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"the service was not ready after {seconds:g} s\n{self.log_tail()}")
            time.sleep(0.05)

    @property
    def exit_status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """The exit status, None where it still runs after that long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.exit_status

    def memory(self) -> tuple[float, float, float] | None:
        """RSS, PSS and USS in MB; None once it has ended."""
        try:
            info = self._status.memory_full_info()
        except psutil.Error:
            return None
        if not info.rss:  # it is just ending
            return None
        return info.rss / MEGABYTE, info.pss / MEGABYTE, info.uss / MEGABYTE

    def peak_rss(self) -> float | None:
        """The kernel's high-water mark of RSS in MB, the start included; None where it cannot be read."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)

    def cpu_seconds(self) -> float | None:
        """Processor time so far; None once it has ended."""
        try:
            times = self._status.cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines it logged."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ask it to drain and end, then end it, and remove its folder."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def kill(self) -> None:
        """End it at once, and with it every connection; its log stays until :meth:`stop`."""
        self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        if not self.port:
            text = self._output.read_text(encoding="utf-8")
            if "http://127.0.0.1:" not in text or not text.endswith("\n"):
                return False
            self.port = int(text.split("http://127.0.0.1:")[1].split()[0])
        try:
            return get(self.port, "/ready") == 200
        except OSError:
            return False


class HealthProbe:
    """Asks /health again and again, as a supervisor does, in a thread of its own; a context manager.

    Args:
        port: on 127.0.0.1.
        interval: seconds from one question to the next.

    Attributes:
        seconds: how long each answer took.
        failures: questions without an answer of 200.
    """

    def __init__(self, port: int, interval: float = 0.5) -> None:
        self.seconds: list[float] = []
        self.failures = 0
        self._port = port
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="health probe", daemon=True)

    def __enter__(self) -> HealthProbe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(self._interval):
            started = time.perf_counter()
            try:
                if get(self._port, "/health", timeout=10.0) != 200:
                    self.failures += 1
            except (OSError, http.client.HTTPException):
                if not self._stop.is_set():
                    self.failures += 1
            else:
                self.seconds.append(time.perf_counter() - started)


def get(port: int, path: str, timeout: float = 5.0) -> int:
    """The status of a GET on 127.0.0.1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        json.loads(answer.read())
        return answer.status
    finally:
        connection.close()
