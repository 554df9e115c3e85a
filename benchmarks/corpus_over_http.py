"""Send every recording of a corpus folder to a running service, one at a time, and report what came back.

    make run                                    (in another terminal)
    python -m benchmarks.corpus_over_http --data DATA [--url http://127.0.0.1:8000] [--limit 200] [--dev] [--pid PID]

Reports statuses, the median time of a request and per second of audio, and with ``--pid`` the service's RSS; with
``--dev`` of the development speakers alone. With ``--mismatched`` each recording is sent with the text of another one,
of like length but with other words, and the report has the scores.
"""

from __future__ import annotations

import argparse
import collections
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import psutil
from tqdm import tqdm

from training.corpus import Utterance, load_corpus, split_by_speaker

WARM_UP = 20


def main() -> None:
    """The command line; exits 1 if any answer is a 5xx."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--limit", type=int, default=None, help="only so many recordings")
    parser.add_argument("--pid", type=int, default=None, help="of the service, to report its RSS")
    parser.add_argument("--mismatched", action="store_true", help="send another sentence's text")
    parser.add_argument("--dev", action="store_true", help="the development speakers alone")
    args = parser.parse_args()
    utterances = load_corpus(args.data)
    utterances = (split_by_speaker(utterances)[1] if args.dev else utterances)[: args.limit]
    texts = other_texts(utterances) if args.mismatched else [utterance.text for utterance in utterances]
    statuses: collections.Counter[int] = collections.Counter()
    seconds, durations, rss, ours, experts = [], [], [], [], []
    with httpx.Client(base_url=args.url, timeout=60) as client:
        for number, (utterance, text) in enumerate(zip(tqdm(utterances, unit="file"), texts, strict=True), 1):
            files = {"audio": (utterance.audio.name, utterance.audio.read_bytes())}
            started = time.perf_counter()
            answer = client.post("/analyze", files=files, data={"text": text})
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
    if args.mismatched:
        low = " and ".join(f"{100 * np.mean(np.array(ours) < bound):.1f} % under {bound}" for bound in (35, 40))
        print(f"pronunciation score: median {statistics.median(ours):.1f}, {low}")
    print(f"correlation of the pronunciation score with the experts' total: {np.corrcoef(ours, experts)[0, 1]:.3f}")
    for number, megabytes in rss:
        print(f"RSS after {number} requests: {megabytes:.0f} MB")
    raise SystemExit(any(status >= 500 for status in statuses))


def other_texts(utterances: Sequence[Utterance]) -> list[str]:
    """For each recording a text of as many words, or nearly, none of which is its own."""
    texts = sorted({utterance.text for utterance in utterances})
    random.Random(0).shuffle(texts)
    words = {text: set(text.split()) for text in texts}

    def another(own: str) -> str:
        return min(texts, key=lambda text: (bool(words[own] & words[text]), abs(len(own.split()) - len(text.split()))))

    return [another(utterance.text) for utterance in utterances]


if __name__ == "__main__":
    main()
