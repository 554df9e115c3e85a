"""Two hundred requests at once: each has to get 200, or 503 with Retry-After, and then all is as it was.

    python -m benchmarks.flood [--clients 200] [--limit-mib 4096] [--settle 60] [--large]

Also reports how long /health took meanwhile, and RSS before the flood and a minute after it. Exits 1 where a bound is
missed: another answer, /health at 50 ms or more, RSS more than 5 % off.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import threading
import time
from collections import Counter
from http.client import HTTPConnection

from benchmarks.cleanup_cost import make_items
from benchmarks.load_client import send
from benchmarks.memory_cgroup import CgroupUnavailable, MemoryCgroup, make_cgroup
from benchmarks.recordings import compose, encode, speak
from benchmarks.requests_mix import Item, multipart
from benchmarks.service_process import HealthProbe, ServiceProcess

HEALTH_MS = 50.0
RSS_SHARE = 0.05
_WARM_UP = 100


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--limit-mib", type=float, default=4096)
    parser.add_argument("--settle", type=float, default=60, help="seconds after the flood")
    parser.add_argument("--large", action="store_true", help="uploads of 18 MB, 100 s each, instead of everyday ones")
    options = parser.parse_args()
    cgroup = None
    try:
        cgroup = make_cgroup(int(options.limit_mib * 2**20))
    except CgroupUnavailable as error:
        print(f"Going on without a memory cgroup: {error}")
    try:
        raise SystemExit(_flood(options, cgroup))
    finally:
        if cgroup is not None:
            cgroup.remove()


def _flood(options: argparse.Namespace, cgroup: MemoryCgroup | None) -> int:
    everyday = make_items(50)
    items = large_items() if options.large else everyday
    with ServiceProcess(cgroup=cgroup) as service:
        service.wait_until_ready()
        _one_by_one(service.port, everyday, _WARM_UP)
        _one_by_one(service.port, items, 2)
        before = _rss(service, 5)
        with multiprocessing.get_context("spawn").Pool(1) as other_process:  # the probe shall not wait for the clients
            other_process.apply(len, ([],))  # it is up
            with HealthProbe(service.port, interval=0.01) as probe:
                answers, seconds = other_process.apply(flood, (service.port, items, options.clients))
        waits = [1000 * wait for wait in probe.seconds]
        peak = service.peak_rss() or 0.0
        kills = cgroup.kills() if cgroup is not None else 0
        time.sleep(max(0.0, options.settle - 5))
        after = _rss(service, 5)
    change = after / before - 1
    print(f"{options.clients} at once, answered within {seconds:.1f} s: {dict(answers)}")
    print(f"/health: {len(waits)} times, median {statistics.median(waits):.1f} ms, longest {max(waits):.1f} ms")
    print(
        f"RSS: {before:.0f} MB before, peak {peak:.0f} MB, {after:.0f} MB {options.settle:.0f} s later ({change:+.1%})"
    )
    right = set(answers) <= {"200", "503 with Retry-After"} and sum(answers.values()) == options.clients
    failures = [
        name
        for name, failed in (
            ("another answer", not right),
            ("killed", kills > 0),
            ("/health", max(waits) >= HEALTH_MS),
            ("RSS", abs(change) > RSS_SHARE),
        )
        if failed
    ]
    print("FAIL: " + ", ".join(failures) if failures else "PASS")
    return bool(failures)


def flood(port: int, items: list[Item], clients: int) -> tuple[Counter[str], float]:
    """Send one request from each client at the same moment; what they got, and the seconds until the last had it."""
    answers: Counter[str] = Counter()
    lock = threading.Lock()
    gate = threading.Barrier(clients + 1)

    def client(number: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        connection.connect()
        gate.wait()
        try:
            status, complaint = send(connection, items[number % len(items)])
        except OSError as error:
            status, complaint = 0, str(error)
        finally:
            connection.close()
        name = f"{status} with Retry-After" if status == 503 and not complaint else f"{status} {complaint}".strip()
        with lock:
            answers[name] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return answers, time.perf_counter() - started


def large_items() -> list[Item]:
    """Recordings of 100 s in stereo at 48 kHz, nearly as large as an upload may be."""
    rng = random.Random(1)
    sentences = speak()
    items = []
    for _ in range(4):
        clip = compose(sentences, 100.0, rng)
        body = multipart(encode(clip.signal, "wav", 48_000, stereo=True), text=clip.text)
        items.append(Item("large", body, mode="scripted"))
    return items


def _one_by_one(port: int, items: list[Item], count: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(count):
        send(connection, items[number % len(items)])
    connection.close()


def _rss(service: ServiceProcess, seconds: float) -> float:
    """The median RSS in MB over a while without requests."""
    readings = []
    for _ in range(10):
        time.sleep(seconds / 10)
        memory = service.memory()
        if memory is None:
            raise SystemExit("the service is gone")
        readings.append(memory[0])
    return statistics.median(readings)


if __name__ == "__main__":
    main()
