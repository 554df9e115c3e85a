"""The voice heard by the service itself: what it says is sent back and analysed.

    python -m benchmarks.round_trip [--plot benchmarks/round_trip.png]

Starts a service of its own and reports, each against its bar:
- 30 sentences spoken and analysed with their text: mean pronunciation score, phoneme error rate of the free decode
  against the phonemes of the answer's words; and the same clips analysed with another sentence;
- 20 minimal pairs, one word spoken and analysed as the other: whether the changed phoneme is among the two
  lowest-scored of the word, whether ``heard`` has the spoken one first or second, whether ``heard_phonemes`` is just
  what was spoken;
- the voice's real-time factor on one thread, and the RSS after it was loaded and unloaded a hundred times.
Exits 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from app.core.lexicon import Lexicon
from app.core.memory_utils import force_cleanup, rss_mb
from app.core.model_cache import ModelCache
from app.core.speech_synthesizer import SpeechSynthesizer
from benchmarks.service_process import ServiceProcess
from benchmarks.voice_texts import MINIMAL_PAIRS, SENTENCES

OTHER = 7
"""The other sentence is so many further on: of another length and with other words."""

LEAST_PRONUNCIATION = 85.0
MOST_PHONEME_ERRORS = 0.20
MOST_FOR_ANOTHER = 40.0
LEAST_FOUND = 16 / 20
LEAST_HEARD = 14 / 20
MOST_REAL_TIME_FACTOR = 0.05
MOST_GROWTH_MB = 10.0

_WARM_UP_LOADS = 5
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, heard: scores 0 to 100, ``errors`` of ``phonemes`` by the free decode."""

    text: str
    pronunciation: float
    another: float
    errors: int
    phonemes: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One minimal pair, heard.

    Attributes:
        spoken: the word that was said.
        expected: the word that should have been said.
        rank: of the changed phoneme by its score, 0 the lowest of the word.
        heard: the most probable phonemes in its place, best first.
        phoneme: that was said there.
        exact: ``heard_phonemes`` is what was said.
    """

    spoken: str
    expected: str
    rank: int
    heard: list[str]
    phoneme: str
    exact: bool


def speak(client: httpx.Client, **body: Any) -> bytes:
    """The WAV file of a text or phonemes."""
    return client.post("/synthesize", json=body).raise_for_status().content


def analyse(client: httpx.Client, clip: bytes, text: str) -> dict[str, Any]:
    """The answer of /analyze."""
    answer = client.post("/analyze", files={"audio": ("clip.wav", clip)}, data={"text": text})
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


def round_trip(client: httpx.Client, sentence: str, another: str) -> Sentence:
    """Speak a sentence, and analyse it with its own text and with another one."""
    clip = speak(client, text=sentence)
    body = analyse(client, clip, sentence)
    expected = [p["phoneme"] for word in body["words"] for p in word["phonemes"]]
    errors = Levenshtein.distance([p["phoneme"] for p in body["phonemes"]], expected)
    wrong = analyse(client, clip, another)["scores"]["pronunciation"]
    return Sentence(sentence, body["scores"]["pronunciation"], wrong, errors, len(expected))


def minimal_pair(client: httpx.Client, lexicon: Lexicon, spoken: str, expected: str) -> Pair:
    """Speak one word, and analyse it as another that differs in one phoneme."""
    said = list(lexicon.words(spoken)[0].pronunciations[0].phonemes)
    body = analyse(client, speak(client, text=spoken), expected)
    word = next(word for word in body["words"] if word["error_type"] != "insertion")
    phonemes = word["phonemes"]
    place = next(
        i for i, (phoneme, other) in enumerate(zip(phonemes, said, strict=True)) if phoneme["phoneme"] != other
    )
    scores = [phoneme["score"] for phoneme in phonemes]
    return Pair(
        spoken,
        expected,
        sorted(scores).index(scores[place]),
        [heard["phoneme"] for heard in phonemes[place]["heard"]],
        said[place],
        word["heard_phonemes"] == said,
    )


def real_time_factor(texts: Sequence[str] = SENTENCES) -> float:
    """Seconds that the voice takes on one thread for a second of speech, text and WAV file included: a median."""
    lexicon, synthesizer = Lexicon(), SpeechSynthesizer(ModelCache())
    factors = []
    for _ in range(_ROUNDS + 1):  # the first warms up
        seconds = 0.0
        started = time.process_time()
        for text in texts:
            seconds += synthesizer.synthesize(synthesizer.plan_text(text, lexicon.words(text))).seconds
        factors.append((time.process_time() - started) / seconds)
    return statistics.median(factors[1:])


def growth_by_loading(times: int = 100) -> float:
    """MB that the RSS has grown by after the voice was loaded, used and unloaded so often, the first few left out."""
    lexicon, synthesizer = Lexicon(), SpeechSynthesizer(ModelCache())
    phrases = synthesizer.plan_text(SENTENCES[0], lexicon.words(SENTENCES[0]))
    before = 0.0
    for number in tqdm(range(_WARM_UP_LOADS + times), unit="load", leave=False):
        if number == _WARM_UP_LOADS:
            force_cleanup()
            before = rss_mb()
        synthesizer.synthesize(phrases)
        if not synthesizer.unload():
            raise RuntimeError("the voice was not unloaded")
    force_cleanup()
    return rss_mb() - before


def main() -> None:
    """The command line; exits 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="where to draw the scores")
    args = parser.parse_args()
    growth, factor = growth_by_loading(), real_time_factor()
    with ServiceProcess() as service:
        service.wait_until_ready()
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=60) as client:
            others = (*SENTENCES[OTHER:], *SENTENCES[:OTHER])
            trips = tqdm(zip(SENTENCES, others, strict=True), total=len(SENTENCES), unit="sentence", leave=False)
            sentences = [round_trip(client, *texts) for texts in trips]
            lexicon = Lexicon()
            pairs = [minimal_pair(client, lexicon, *words) for words in tqdm(MINIMAL_PAIRS, unit="pair", leave=False)]
    if args.plot:
        from benchmarks.round_trip_plot import draw

        draw(sentences, pairs, args.plot)
    sys.exit(report(sentences, pairs, factor, growth))


def report(sentences: Sequence[Sentence], pairs: Sequence[Pair], factor: float, growth: float) -> int:
    """Print the figures, each with its bar.

    Returns:
        The exit status: 1 where a bar is missed.
    """
    for pair in pairs:
        where = f"{'lowest' if pair.rank == 0 else f'rank {pair.rank + 1}':8}"
        print(f"{pair.spoken:>8} as {pair.expected:8} {pair.phoneme:2} {where} heard {' '.join(pair.heard):10}", end="")
        print("  read exactly" if pair.exact else "")
    right = statistics.mean(s.pronunciation for s in sentences)
    errors = sum(s.errors for s in sentences) / sum(s.phonemes for s in sentences)
    wrong = np.array([s.another for s in sentences])
    found = sum(p.rank <= 1 for p in pairs)
    heard = sum(p.phoneme in p.heard[:2] for p in pairs)
    exact, count = sum(p.exact for p in pairs), len(pairs)
    rows = [
        ("pronunciation of the sentence that was spoken", f"mean {right:.1f}", right >= LEAST_PRONUNCIATION),
        ("phoneme error rate of the free decode", f"{errors:.3f}", errors <= MOST_PHONEME_ERRORS),
        (
            "pronunciation of another sentence",
            f"mean {wrong.mean():.1f}, most {wrong.max():.1f}",
            wrong.max() < MOST_FOR_ANOTHER,
        ),
        ("changed phoneme lowest or second-lowest", f"{found} of {count}", found >= LEAST_FOUND * count),
        ("heard has the spoken phoneme first or second", f"{heard} of {count}", heard >= LEAST_HEARD * count),
        ("heard_phonemes is exactly what was spoken", f"{exact} of {count}", True),
        ("real-time factor of the voice on one thread", f"{factor:.4f}", factor <= MOST_REAL_TIME_FACTOR),
        ("RSS after loading and unloading it 100 times", f"{growth:+.1f} MB", growth <= MOST_GROWTH_MB),
    ]
    print()
    for name, figure, met in rows:
        print(f"| {name} | {figure}{'' if met else ' (missed)'} |")
    return 0 if all(met for *_, met in rows) else 1


if __name__ == "__main__":
    main()
