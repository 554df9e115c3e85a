"""What each allocator setting does to memory and speed, one by one, against glibc as it comes.

    python -m benchmarks.allocator [--requests 150] [--rounds 3] [--engine int8|float] [--plot FILE.png]

Every variant runs the same recordings (0.3 to 30 s) through the real pipeline in a process of its own; the variants
take turns, several rounds of them, and the medians are reported. Time is the median ratio to the first variant's of
the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

from tqdm import tqdm

AS_IT_COMES = "glibc as it comes"
_OFF: dict[str, Any] = {"malloc_arena_max": 0, "malloc_trim_threshold_kb": 0, "malloc_mmap_threshold_kb": 0}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "int8": {
        AS_IT_COMES: {},
        "arenas 2": {"malloc_arena_max": 2},
        "trim 128 KB": {"malloc_trim_threshold_kb": 128},
        "trim 16 MB": {"malloc_trim_threshold_kb": 16384},
        "mmap 128 KB": {"malloc_mmap_threshold_kb": 128},
        "mmap 4 MB": {"malloc_mmap_threshold_kb": 4096},
        "mmap 32 MB": {"malloc_mmap_threshold_kb": 32768},
        "gc.freeze": {"freeze": True},
        "cleanup after each": {"cleanup": True},
        "freeze + cleanup": {"freeze": True, "cleanup": True},
        "8 threads": {"threads": 8},
        "8 threads, arenas 2": {"threads": 8, "malloc_arena_max": 2},
        "the service's": {"freeze": True, "cleanup": True, "defaults": True},
    },
    "float": {
        AS_IT_COMES: {},
        "oneDNN cache 16": {"onednn_primitive_cache_capacity": 16},
        "trim 128 KB": {"malloc_trim_threshold_kb": 128},
        "gc.freeze": {"freeze": True},
        "freeze + cleanup": {"freeze": True, "cleanup": True},
        "8 threads": {"threads": 8},
        "the service's": {"freeze": True, "cleanup": True, "defaults": True},
    },
}
"""What each variant sets: fields of the settings, ``threads`` that run analyses, and whether to freeze and clean up."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", choices=list(VARIANTS), default="int8")
    parser.add_argument("--only", nargs="*", default=None, help="variants to run beside the first")
    parser.add_argument("--plot", type=Path, default=None)
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(run_variant(json.loads(options.child), options.requests, options.engine)))
        return
    variants = VARIANTS[options.engine]
    chosen = {n: v for n, v in variants.items() if options.only is None or n in (AS_IT_COMES, *options.only)}
    rounds: list[dict[str, dict[str, float]]] = []
    with tqdm(total=options.rounds * len(chosen), unit="run") as bar:
        for _ in range(options.rounds):
            rounds.append({})
            for name, variant in chosen.items():
                bar.set_description(name)
                rounds[-1][name] = _in_a_process(variant, options)
                bar.update()
    table = summarize(rounds)
    print(f"{'':22s}{'RSS ready':>10s}{'peak':>8s}{'at the end':>12s}{'collect':>10s}{'time':>8s}")
    for name, row in table.items():
        print(
            f"{name:22s}{row['ready']:7.0f} MB{row['peak']:5.0f} MB{row['end']:9.0f} MB"
            f"{row['collect_ms']:7.1f} ms{row['time']:8.2f}"
        )
    if options.plot is not None:
        draw(table, options.plot, options.engine)


def summarize(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds; ``time`` is the ratio to the first variant's."""
    table = {}
    for name in rounds[0]:
        runs = [one[name] for one in rounds]
        table[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "seconds"}
        table[name]["time"] = statistics.median(one[name]["seconds"] / one[AS_IT_COMES]["seconds"] for one in rounds)
    return table


def run_variant(variant: dict[str, Any], requests: int, engine: str) -> dict[str, float]:
    """Serve ``requests`` recordings in this process, as the variant says."""
    from app.core import allocator
    from app.core.memory_config import MemorySettings
    from app.core.memory_utils import force_cleanup, freeze_heap, rss_mb
    from app.core.settings import Settings

    chosen = {n: v for n, v in variant.items() if n in MemorySettings.model_fields}
    settings = Settings(_env_file=None, use_quantization=engine == "int8")
    if not variant.get("defaults"):
        settings = settings.model_copy(update=_OFF | {"onednn_primitive_cache_capacity": 1024} | chosen)
    allocator.tune(settings)
    from app.core.memory_budget import MemoryBudget
    from app.core.results import AnalysisRequest
    from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
    from benchmarks.recordings import compose, encode, speak

    rng = random.Random(5)
    sentences = speak()
    seconds = [0.3 * 100 ** rng.random() for _ in range(requests)]
    clips = [compose(sentences, length, rng) for length in seconds]
    bodies = [(encode(clip.signal, "flac", 16_000), clip.text) for clip in clips]
    del clips, sentences
    force_cleanup()
    before = rss_mb()  # the recordings themselves, which are not the service's
    handler = AudioProcessingHandler(settings, MemoryBudget.unlimited())
    times: list[float] = []
    peak = 0.0

    def analyze(number: int) -> None:
        nonlocal peak
        audio, text = bodies[number]
        started = time.perf_counter()
        handler.analyze(AnalysisRequest(audio, text, None, "benchmark"), Event())
        times.append(time.perf_counter() - started)
        peak = max(peak, rss_mb())
        if variant.get("cleanup"):
            force_cleanup(1)

    with ThreadPoolExecutor(variant.get("threads", 1)) as pool:
        pool.submit(handler.load).result()
        if variant.get("freeze"):
            freeze_heap()
        ready = rss_mb()
        list(pool.map(analyze, range(requests)))
        end = rss_mb()
    started = time.perf_counter()
    force_cleanup()
    collect = time.perf_counter() - started
    return {
        "ready": ready - before,
        "peak": peak - before,
        "end": end - before,
        "collect_ms": 1000 * collect,
        "seconds": statistics.median(times),
    }


def _in_a_process(variant: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.allocator", "--child", json.dumps(variant)]
    command += ["--requests", str(options.requests), "--engine", options.engine]
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("MALLOC_", "ONEDNN_"))}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def draw(table: dict[str, dict[str, float]], path: Path, engine: str) -> None:
    """Bars of peak and final RSS, and of time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(table)[::-1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 0.35 * len(names) + 1.5), sharey=True)
    left.barh(names, [table[n]["peak"] for n in names], color="#c9d6e8", label="peak")
    left.barh(names, [table[n]["end"] for n in names], color="#31577f", height=0.4, label="after the last")
    left.set_xlabel("RSS beyond the recordings, MB")
    left.legend(frameon=False)
    right.barh(names, [table[n]["time"] for n in names], color="#7a9a5b")
    right.axvline(1, color="black", linewidth=0.8)
    right.set_xlabel(f"median time of an analysis, relative to {AS_IT_COMES}")
    figure.suptitle(f"Allocator settings, {engine} engine")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
