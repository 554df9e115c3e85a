"""How much memory an analysis takes at its peak, by the length of the recording, and the line that admission uses.

    python -m benchmarks.request_cost [--repeat 3] [--plot benchmarks/request_cost.png]

Runs the real pipeline in this process. The peak is the kernel's own (VmHWM, set back before each analysis), less the
RSS before it; the text is as long as what is said. Exits 1 where a recording took more than admission expects.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.core import allocator
from app.core.acoustic_engine import load_engine
from app.core.memory_budget import ANALYSIS_WINDOW_SECONDS, analysis_mb
from app.core.memory_utils import MB, force_cleanup, freeze_heap, rss_mb
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from benchmarks.recordings import compose, encode, speak

SECONDS = (0.3, 1, 2, 4, 7, 10, 15, 20, 25, 29.9, 35, 45, 60, 80, 100, 119)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--plot", type=Path, default=None)
    parser.add_argument("--float", action="store_true", help="the engine of USE_QUANTIZATION=false")
    options = parser.parse_args()
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
    raise SystemExit(any(peak > most for peak, most in zip(peaks.max(axis=1), expected, strict=True)))


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
            force_cleanup()
            before = rss_mb()
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            handler.analyze(AnalysisRequest(audio, text, None, "benchmark"), Event())
            peaks[row, column] = _peak_mb() - before
    return peaks, load_engine(None, quantized=quantized).memory_factor


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
