"""What cleaning up after every request costs a request: the same recordings with it on and off, in turn.

    python -m benchmarks.cleanup_cost [--rounds 20] [--requests 40] [--bound 2]

Two services run; a round sends the same recordings, one right after the other, to the one and then to the other, and
the next round begins with the other. Reports the median over the rounds of the ratio of the medians, and exits 1 where
the cost is above the bound.
"""

from __future__ import annotations

import argparse
import http.client
import random
import statistics
import time

from tqdm import tqdm

from benchmarks.load_client import send
from benchmarks.recordings import compose, encode, speak
from benchmarks.requests_mix import Item, multipart
from benchmarks.service_process import ServiceProcess

ON = {"AGGRESSIVE_MEMORY_CLEANUP": "true"}
OFF = {"AGGRESSIVE_MEMORY_CLEANUP": "false", "MEMORY_CLEANUP_INTERVAL": "1000000000"}
SECONDS = (1.0, 6.0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=40, help="in each round, to each service")
    parser.add_argument("--bound", type=float, default=2.0, help="percent")
    options = parser.parse_args()
    items = make_items(options.requests)
    with ServiceProcess(environment=ON) as on, ServiceProcess(environment=OFF) as off:
        for service in (on, off):
            service.wait_until_ready()
            time_of(service.port, items)  # warm-up
        medians: dict[int, list[float]] = {on.port: [], off.port: []}
        for number in tqdm(range(options.rounds), unit="round"):
            for service in (on, off) if number % 2 else (off, on):
                medians[service.port].append(time_of(service.port, items))
    with_it, without = medians[on.port], medians[off.port]
    ratios = [a / b for a, b in zip(with_it, without, strict=True)]
    cost = 100 * (statistics.median(ratios) - 1)
    low, high = (100 * (q - 1) for q in statistics.quantiles(ratios, n=4)[::2])
    print(f"median request: {1000 * statistics.median(with_it):.2f} ms with cleanup after each", end="")
    print(f", {1000 * statistics.median(without):.2f} ms without")
    print(f"cost: {cost:+.2f} % (quartiles of {options.rounds} rounds {low:+.2f} to {high:+.2f} %)")
    raise SystemExit(cost > options.bound)


def make_items(count: int) -> list[Item]:
    """Good requests of everyday length."""
    rng = random.Random(1)
    sentences = speak()
    items = []
    for _ in range(count):
        clip = compose(sentences, rng.uniform(*SECONDS), rng)
        body = multipart(encode(clip.signal, "flac", 16_000), text=clip.text)
        items.append(Item("scripted", body, mode="scripted"))
    return items


def time_of(port: int, items: list[Item]) -> float:
    """The median time of the requests, in seconds, sent one right after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    seconds = []
    for item in items:
        started = time.perf_counter()
        status, complaint = send(connection, item)
        seconds.append(time.perf_counter() - started)
        if status != 200:
            raise SystemExit(f"{status}: {complaint}")
    connection.close()
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
