"""Send every recording of a corpus folder to a running service, one at a time, and report what came back.

    make run                                    (in another terminal)
    python -m benchmarks.corpus_over_http --data DATA [--url http://127.0.0.1:8000] [--limit 200] [--pid PID]

Reports statuses, the median time of a request and per second of audio, and with ``--pid`` the service's RSS.
"""

from __future__ import annotations

import argparse
import collections
import statistics
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from tqdm import tqdm

from training.corpus import load_corpus

WARM_UP = 20


def main() -> None:
    """The command line; exits 1 if any answer is a 5xx."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--limit", type=int, default=None, help="only so many recordings")
    parser.add_argument("--pid", type=int, default=None, help="of the service, to report its RSS")
    args = parser.parse_args()
    utterances = load_corpus(args.data)[: args.limit]
    statuses: collections.Counter[int] = collections.Counter()
    seconds, durations, rss, ours, experts = [], [], [], [], []
    with httpx.Client(base_url=args.url, timeout=60) as client:
        for number, utterance in enumerate(tqdm(utterances, unit="file"), 1):
            files = {"audio": (utterance.audio.name, utterance.audio.read_bytes())}
            started = time.perf_counter()
            answer = client.post("/analyze", files=files, data={"text": utterance.text})
            elapsed = time.perf_counter() - started
            statuses[answer.status_code] += 1
            if answer.status_code != 200:
                tqdm.write(f"{utterance.utterance}: {answer.text}")
                continue
            body = answer.json()
            seconds.append(elapsed)
            durations.append(body["audio"]["duration"])
            ours.append(body["scores"]["pronunciation"])
            experts.append(utterance.scores["total"])
            if args.pid and number in (WARM_UP, 200, len(utterances)):
                rss.append((number, psutil.Process(args.pid).memory_info().rss / 2**20))
    print(f"statuses: {dict(statuses)}")
    print(f"median time of a request: {1000 * statistics.median(seconds):.1f} ms")
    per_second = [s / d for s, d in zip(seconds, durations, strict=True)]
    print(f"median time per second of audio: {1000 * statistics.median(per_second):.1f} ms")
    print(f"95th percentile of a request: {1000 * float(np.percentile(seconds, 95)):.1f} ms")
    print(f"correlation of the pronunciation score with the experts' total: {np.corrcoef(ours, experts)[0, 1]:.3f}")
    for number, megabytes in rss:
        print(f"RSS after {number} requests: {megabytes:.0f} MB")
    raise SystemExit(any(status >= 500 for status in statuses))


if __name__ == "__main__":
    main()
