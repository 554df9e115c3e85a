"""How much memory an analysis, and speaking, takes at its peak, by its length, and the line that admission uses.

    python -m benchmarks.request_cost [--repeat 3] [--plot benchmarks/request_cost.png] [--only analysis|speech]

Runs the real pipeline in this process, and the voice in one of its own, where nothing has spoken before. The peak is
the kernel's own (VmHWM, set back before each analysis), less the RSS before it; the text is as long as what is said.
What is spoken has no punctuation, so that its phrases are as long as they may be, with the voice loaded for it (cold)
or there already (warm). Exits 1 where anything took more than admission expects.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.core import allocator
from app.core.acoustic_engine import load_engine
from app.core.lexicon import Lexicon
from app.core.memory_budget import ANALYSIS_WINDOW_SECONDS, analysis_mb
from app.core.memory_utils import MB, force_cleanup, freeze_heap, rss_mb
from app.core.model_cache import ModelCache
from app.core.phrasing import phrase_seconds
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.core.speech_synthesizer import SpeechSynthesizer
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from benchmarks.recordings import SENTENCES, compose, encode, speak

T = TypeVar("T")

SECONDS = (0.3, 1, 2, 4, 7, 10, 15, 20, 25, 29.9, 35, 45, 60, 80, 100, 119)
SPEECH_SECONDS = (1, 2, 4, 8, 15, 30, 60, 100)
SPEEDS = (0.5, 1.0, 2.0)

_SECONDS_PER_PHONEME = 0.075  # of the built-in voice in the middle of a phrase


@dataclass(frozen=True, slots=True)
class SpeechCost:
    """What one clip took, in MB and seconds.

    Attributes:
        wanted: about how long it should be.
        speed: of the voice.
        cold: the voice was loaded for it.
        phrase: how long its longest phrase is expected to be, at most.
        seconds: how long it is.
        peak: beyond what was there before.
        expected: by admission.
    """

    wanted: float
    speed: float
    cold: bool
    phrase: float
    seconds: float
    peak: float
    expected: float


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plot", type=Path, default=None)
    parser.add_argument("--float", action="store_true", help="the engine of USE_QUANTIZATION=false")
    parser.add_argument("--only", choices=("analysis", "speech"), help="one of the two tables")
    options = parser.parse_args()
    too_much = False
    if options.only != "speech":
        too_much |= _analyses(options)
    if options.only != "analysis":
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            costs = fresh.apply(measure_speech, (SPEECH_SECONDS, SPEEDS, options.repeat))
        too_much |= print_speech(costs)
    raise SystemExit(too_much)


def _analyses(options: argparse.Namespace) -> bool:
    """Measure and show analyses; whether one took more than expected."""
    peaks, factor = measure(SECONDS, options.repeat, quantized=not options.float)
    expected = [factor * analysis_mb(seconds) for seconds in SECONDS]
    print("seconds   measured MB   admission expects MB")
    for seconds, peak, most in zip(SECONDS, peaks.max(axis=1), expected, strict=True):
        print(f"{seconds:7.1f} {peak:13.1f} {most:22.1f}")
    for name, chosen in (("up to", np.array(SECONDS) <= 30), ("beyond", np.array(SECONDS) > 30)):
        slope, base = np.polyfit(np.repeat(np.array(SECONDS)[chosen], options.repeat), peaks[chosen].ravel(), 1)
        print(f"least squares {name} {ANALYSIS_WINDOW_SECONDS:g} s: {base:.1f} MB + {slope:.2f} MB per second")
    if options.plot is not None:
        draw(peaks, options.plot)
    return any(peak > most for peak, most in zip(peaks.max(axis=1), expected, strict=True))


def measure(lengths: tuple[float, ...], repeat: int, *, quantized: bool = True) -> tuple[NDArray[np.float64], float]:
    """Analyse recordings of some lengths, each another one.

    Returns:
        ``(len(lengths), repeat)`` MB at the peak beyond what was there before, and the engine's factor.
    """
    settings = Settings(_env_file=None, use_quantization=quantized)
    allocator.tune(settings)
    handler = AudioProcessingHandler(settings)
    handler.load()
    rng = random.Random(3)
    sentences = speak()
    freeze_heap()
    peaks = np.zeros((len(lengths), repeat))
    for row, seconds in enumerate(tqdm(lengths, unit="length")):
        for column in range(repeat):
            clip = compose(sentences, seconds, rng)
            audio = encode(clip.signal, "flac", 16_000)
            text = clip.text
            del clip
            wanted = AnalysisRequest(audio, text, None, "benchmark")
            peaks[row, column], _ = _peak_of(partial(handler.analyze, wanted, Event()))
    return peaks, load_engine(None, quantized=quantized).memory_factor


def measure_speech(lengths: tuple[float, ...], speeds: tuple[float, ...], repeat: int) -> list[SpeechCost]:
    """Speak texts of some lengths; in a process that has analysed, and never spoken."""
    settings = Settings(_env_file=None)
    allocator.tune(settings)
    handler = AudioProcessingHandler(settings)
    handler.load()
    freeze_heap()
    lexicon = Lexicon()
    synthesizer = SpeechSynthesizer(ModelCache(), max_seconds=10 * max(lengths))
    costs = []
    cases = list(itertools.product((True, False), lengths, speeds, range(repeat)))
    for cold, wanted, speed, _ in tqdm(cases, unit="clip"):
        if cold:
            synthesizer.unload()
        text = text_of(wanted * speed, lexicon)
        phrases = synthesizer.plan_text(text, lexicon.words(text), speed)
        expected = synthesizer.memory_mb(phrases, speed)
        peak, clip = _peak_of(partial(synthesizer.synthesize, phrases, speed))
        longest = max(map(phrase_seconds, phrases)) / speed
        costs.append(SpeechCost(wanted, speed, cold, longest, clip.seconds, peak, expected))
    return costs


def text_of(seconds: float, lexicon: Lexicon) -> str:
    """Words without punctuation that take about so long to say; one at least."""
    words: list[str] = []
    said = 0.0
    for word in itertools.cycle(" ".join(spoken for spoken, _ in SENTENCES).replace(".", "").replace("?", "").split()):
        words.append(word)
        said += _SECONDS_PER_PHONEME * len(lexicon.words(word)[0].pronunciations[0].phonemes)
        if said >= seconds:
            break
    return " ".join(words)


def print_speech(costs: list[SpeechCost]) -> bool:
    """The table of the voice: the worst of each case; whether one took more than expected."""
    print("\nclip s  speed  longest phrase s   warm: measured   expected MB   cold: measured   expected MB")
    for wanted, speed in dict.fromkeys((cost.wanted, cost.speed) for cost in costs):
        row = f"{speed:7.1f}"
        for cold in (False, True):
            same = [c for c in costs if (c.wanted, c.speed, c.cold) == (wanted, speed, cold)]
            worst = max(same, key=lambda cost: cost.peak)
            row = row if cold else f"{worst.seconds:6.1f}{row}{worst.phrase:18.1f}"
            row += f"{worst.peak:17.1f}{worst.expected:14.1f}"
        print(row)
    warm = [cost for cost in costs if not cost.cold]
    factors = np.array([[1.0, cost.phrase, cost.seconds] for cost in warm])
    base, per_phrase, per_clip = np.linalg.lstsq(factors, np.array([cost.peak for cost in warm]), rcond=None)[0]
    print(
        f"least squares, warm: {base:.1f} MB + {per_phrase:.2f} MB per second of the longest phrase "
        f"+ {per_clip:.3f} MB per second of the clip"
    )
    return any(cost.peak > cost.expected for cost in costs)


def _peak_of(work: Callable[[], T]) -> tuple[float, T]:
    """MB at the peak beyond what was there before; and what came of the work."""
    force_cleanup()
    before = rss_mb()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    result = work()
    return _peak_mb() - before, result


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MB
    raise OSError("the kernel tells no peak")


def draw(peaks: NDArray[np.float64], path: Path) -> None:
    """The measured peaks and the line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(np.repeat(SECONDS, peaks.shape[1]), peaks.ravel(), "o", color="#31577f", alpha=0.6, label="measured")
    line = np.linspace(0, max(SECONDS), 200)
    axes.plot(line, [analysis_mb(s) for s in line], color="#b5533c", label="expected by admission")
    axes.set_xlabel("length of the recording, s")
    axes.set_ylabel("RSS at the peak beyond idle, MB")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
