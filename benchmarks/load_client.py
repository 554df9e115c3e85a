"""Clients that send requests one after another over connections that they keep; light, so that the service is measured.

Plain ``http.client`` on threads: bodies are made beforehand, so a client does little but wait.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.answer_checks import PART_BYTES, complain, complain_of_clip, link_to_clip
from benchmarks.requests_mix import Item, Mix

HUNG_UP = 0
"""Stands for a status where the client left before there was one."""

NO_ANSWER = -1
"""Stands for a status where the service closed the connection without one."""

_TIMEOUT_SECONDS = 150.0
_SHED_PAUSE_SECONDS = 0.2
_CHUNK = 64 * 1024
_MAX_NOTES = 20


@dataclass
class Outcomes:
    """What came back, counted by all clients together.

    Attributes:
        done: requests that have been sent and are over.
        statuses: how often each came.
        kinds: how often each kind of request was sent.
        seconds: how long each answer of 200 took, in the order they came.
        server_errors: answers of 5xx other than 503, and requests without an answer.
        wrong: answers with another status than the request's, or with a content that cannot be right.
        notes: the first of both, in words.
    """

    done: int = 0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    kinds: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: list[float] = field(default_factory=list)
    server_errors: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    def count(self, item: Item, status: int, seconds: float, complaint: str) -> None:
        """Count one request."""
        self.done += 1
        self.statuses[status] += 1
        self.kinds[item.kind] += 1
        if status == 200:
            self.seconds.append(seconds)
        failed = status == NO_ANSWER or (status >= 500 and status != 503)
        self.server_errors += failed
        self.wrong += bool(complaint) and not failed
        if complaint and len(self.notes) < _MAX_NOTES:
            self.notes.append(f"{item.kind}: {complaint}")


class Load:
    """Clients at work; a context manager that ends them.

    Args:
        port: of the service, on 127.0.0.1.
        mix: what they send.
        clients: how many there are.
        requests: how many requests they send together, None for as many as come before :meth:`stop`.
    """

    def __init__(self, port: int, mix: Mix, clients: int, requests: int | None) -> None:
        self.outcomes = Outcomes()
        self._port = port
        self._mix = mix
        self._left = requests
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._gate = threading.Event()
        self._gate.set()
        self._under_way = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"client {number}", daemon=True) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()

    @property
    def over(self) -> bool:
        """Whether every client has ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Let every client end after the request that it is at."""
        self._stop.set()
        self._gate.set()

    @contextlib.contextmanager
    def rest(self, seconds: float) -> Iterator[bool]:
        """Hold the clients back for a ``with`` block, once the requests under way are over.

        Args:
            seconds: to wait for those at most.

        Yields:
            Whether none is under way any more.
        """
        self._gate.clear()
        try:
            with self._progress:
                idle = self._progress.wait_for(lambda: not self._under_way, seconds)
            yield idle
        finally:
            self._gate.set()

    def wait(self, done: int, seconds: float) -> None:
        """Wait until that many requests are over, or for that long."""
        with self._progress:
            self._progress.wait_for(lambda: self.outcomes.done >= done, seconds)

    def _items(self) -> Iterator[Item]:
        while not self._stop.is_set():
            self._gate.wait()
            with self._lock:
                if not self._gate.is_set():
                    continue
                if self._left is not None:
                    if self._left == 0:
                        return
                    self._left -= 1
                item = self._mix.draw()
                self._under_way += 1
            yield item

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
        for item in self._items():
            started = time.perf_counter()
            gone = False
            try:
                status, complaint = send(connection, item)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, complaint = NO_ANSWER, f"no answer: {type(error).__name__}: {error}"
                gone = isinstance(error, ConnectionRefusedError)  # nobody listens any more
            seconds = time.perf_counter() - started
            with self._progress:
                self._under_way -= 1
                if not (self._stop.is_set() and status == NO_ANSWER):  # the service is being stopped
                    self.outcomes.count(item, status, seconds, complaint)
                self._progress.notify_all()
            if gone:
                break
            if status in (503, NO_ANSWER):
                self._stop.wait(_SHED_PAUSE_SECONDS)
        connection.close()


def send(connection: http.client.HTTPConnection, item: Item) -> tuple[int, str]:
    """Send one request, and get the clip that its answer leads to, if it does.

    Returns:
        The status, or :data:`HUNG_UP`; and what is wrong with the answer, or nothing.

    Raises:
        OSError: the connection broke.
        HTTPException: it was closed before or amid the answer.
    """
    if item.hang_up is not None:
        _hang_up(connection.port, item)
        return HUNG_UP, ""
    kept = connection.sock is not None
    try:
        answer = _request(connection, item)
    except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
        connection.close()
        if not kept:
            raise
        answer = _request(connection, item)  # the service may close a connection that was idle
    content = answer.read()
    complaint = complain(item, answer.status, answer.headers.get("Retry-After"), content)
    link = link_to_clip(item, answer.status, content) if not complaint else None
    return answer.status, _fetch(connection, link, item) if link else complaint


def _request(connection: http.client.HTTPConnection, item: Item) -> http.client.HTTPResponse:
    headers = {"Content-Type": item.content_type} if item.method == "POST" else {}
    if item.chunked:  # http.client says no length where it is given an iterator
        pieces = (item.body[start : start + _CHUNK] for start in range(0, len(item.body), _CHUNK))
        connection.request(item.method, item.path, pieces, headers)
    else:
        connection.request(item.method, item.path, item.body or None, headers)
    return connection.getresponse()


def _fetch(connection: http.client.HTTPConnection, link: str, item: Item) -> str:
    """Get a clip, or the beginning of it, and say what is wrong with that."""
    connection.request("GET", link, headers={"Range": f"bytes=0-{PART_BYTES - 1}"} if item.reference == "range" else {})
    answer = connection.getresponse()
    return complain_of_clip(item, answer.status, answer.headers.get("Content-Range"), answer.read())


def _hang_up(port: int, item: Item) -> None:
    """Leave with a reset, as a client that was killed does."""
    head = f"POST {item.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {item.content_type}\r\n"
    body = item.body[: len(item.body) // 2] if item.hang_up == "sending" else item.body
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(f"{head}Content-Length: {len(item.body)}\r\n\r\n".encode() + body)
        if item.hang_up == "receiving":
            client.recv(_CHUNK)
        time.sleep(item.patience)
