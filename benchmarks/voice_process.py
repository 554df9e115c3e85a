"""One voice in a fresh process: loads it, says every sentence, and tells what that took.

Started by ``benchmarks.voices``: the name of the voice and a folder as arguments, the sentences pickled on standard
input; what was said comes back in the folder as ``0.npy``, ``1.npy`` ..., the figures as JSON on standard output.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.candidate_voices import CANDIDATES, Candidate, Program, Sentence, Signal

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a voice takes.

    Attributes:
        real_time_factor: seconds of work for each second of speech; the median of the rounds, one processor.
        rounds: the factor of each round.
        rss_mb: RSS that loading and saying every sentence once adds to a process that has NumPy and ONNX Runtime, as
            the service has; of a program its own peak.
        weights_mb: size of its weights and rules.
        sample_rate: in Hz.
        seconds: of speech altogether.
    """

    real_time_factor: float
    rounds: list[float]
    rss_mb: float
    weights_mb: float
    sample_rate: int
    seconds: float


def measure(
    candidate: Candidate, sentences: Sequence[Sentence], rounds: int, folder: Path
) -> tuple[Cost, list[Signal]]:
    """Let a voice say the sentences in a process of its own.

    Args:
        candidate: an installed one.
        sentences: what to say.
        rounds: how often to say all of them for the time.
        folder: an empty one, for what was said.
    """
    command = [sys.executable, "-m", "benchmarks.voice_process", candidate.name, str(folder), str(rounds)]
    done = subprocess.run(
        command, input=pickle.dumps(list(sentences)), stdout=subprocess.PIPE, check=True, env=os.environ | ONE_THREAD
    )
    return Cost(**json.loads(done.stdout)), [np.load(folder / f"{n}.npy") for n in range(len(sentences))]


def main() -> None:
    """The command line; see the top of the module."""
    name, folder, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    sentences = pickle.load(sys.stdin.buffer)
    candidate = next(c for c in CANDIDATES if c.name == name)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # whatever makes threads of its own: one processor
    print(json.dumps(dataclasses.asdict(_cost(candidate, sentences, rounds, folder))))


def _cost(candidate: Candidate, sentences: Sequence[Sentence], rounds: int, folder: Path) -> Cost:
    from app.core import allocator
    from app.core.memory_utils import MB, force_cleanup, rss_mb
    from app.core.settings import Settings

    allocator.tune(Settings(_env_file=None))
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at its import
    import onnxruntime  # noqa: F401 - the service has it anyway

    force_cleanup()
    before = rss_mb()
    speaker = candidate.load()
    seconds = 0.0
    for number, sentence in enumerate(sentences):
        said = speaker.say(sentence)
        seconds += len(said) / speaker.sample_rate
        np.save(folder / f"{number}.npy", said)
        del said
    force_cleanup()
    added = rss_mb() - before
    if isinstance(speaker, Program):
        added = max(speaker.peak_mb(sentence) for sentence in sentences)
    factors = [_time(speaker.say, sentences) / seconds for _ in range(rounds)]
    weights = sum(path.stat().st_size for path in speaker.files) / MB
    return Cost(statistics.median(factors), factors, added, weights, speaker.sample_rate, seconds)


def _time(say: object, sentences: Sequence[Sentence]) -> float:
    assert callable(say)
    started = time.perf_counter()
    for sentence in sentences:
        say(sentence)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
