"""What one analysis is given and what it found: plain values, in the names and units of the HTTP contract.

All times are seconds from the start of the recording, all scores 0 to 100 (higher is better), all probabilities 0 to
1. The pipeline fills these with full precision; :mod:`app.routers.schemas` rounds them for the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from app.core.clip import Clip

Mode = Literal["scripted", "unscripted"]
ErrorType = Literal["none", "mispronunciation", "omission", "insertion"]
ReferenceKind = Literal["none", "inline", "url"]


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """One recording to analyse.

    Attributes:
        audio: the file as it was sent. The service hands over an in-memory binary file at position 0; whoever decodes
            it may ``close()`` it as soon as that is done, which frees the bytes before the slow stages begin.
        text: the sentence that the speaker meant to read, None for an unscripted analysis.
        pronunciations: one entry per word of ``text``, None for a word to look up, or None altogether.
        request_id: to be repeated in the result and in log lines.
        reference_audio: whether to speak ``text`` back, as a clip in the result or in the temporary cache.
    """

    audio: bytes | memoryview | BinaryIO
    text: str | None
    pronunciations: list[list[str] | None] | None
    request_id: str
    reference_audio: ReferenceKind = "none"


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What to say: either a text or phonemes.

    Attributes:
        text: in English, None where phonemes are given.
        pronunciations: one entry per word of ``text``, None for a word to look up, or None altogether.
        phonemes: ARPAbet, stress digits optional, None where a text is given.
        speed: 0.5 to 2, 1 for the voice's own pace.
    """

    text: str | None = None
    pronunciations: list[list[str] | None] | None = None
    phonemes: list[str] | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What was decoded.

    Attributes:
        duration: length of the recording in seconds.
        sample_rate: of the recording as it was sent, in Hz.
        channels: of the recording as it was sent.
        format: the container or codec, such as ``"WAV"``.
        speech_duration: seconds in which somebody speaks.
        snr_db: signal-to-noise ratio in dB, None where it cannot be told.
        clipping_ratio: share of samples at full scale, 0 to 1.
        clip_id: of the recording in the temporary cache, None where it is not kept.
    """

    duration: float
    sample_rate: int
    channels: int
    format: str
    speech_duration: float
    snr_db: float | None
    clipping_ratio: float
    clip_id: str | None = None


@dataclass(frozen=True, slots=True)
class SentenceScores:
    """Scores of the whole recording; without a text ``fluency`` alone, the others None."""

    pronunciation: float | None
    accuracy: float | None
    fluency: float | None
    completeness: float | None
    prosody: float | None


@dataclass(frozen=True, slots=True)
class WordScores:
    """Scores of one word; all 0 for an omission."""

    accuracy: float
    stress: float
    total: float


@dataclass(frozen=True, slots=True)
class HeardPhoneme:
    """One of the phonemes that a segment may have been, with its probability."""

    phoneme: str
    probability: float


@dataclass(frozen=True, slots=True)
class Phoneme:
    """A phoneme that a word should have.

    Attributes:
        phoneme: one of the 39 ARPAbet symbols, without a stress digit.
        stress: 0, 1, 2, or None for a consonant or where it is not known.
        ipa: the same in IPA.
        start: seconds, None where the word was left out.
        end: seconds, None where the word was left out.
        score: 0 to 100; 0 where the word was left out.
        heard: the three most probable phonemes of the segment, best first; empty where there is no segment.
    """

    phoneme: str
    stress: int | None
    ipa: str
    start: float | None
    end: float | None
    score: float
    heard: list[HeardPhoneme]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text, or a spoken stretch that the text does not have.

    Attributes:
        word: as written in the text; for an insertion its phonemes in IPA between slashes.
        start: seconds, None for an omission.
        end: seconds, None for an omission.
        error_type: what was wrong with it, ``"none"`` if nothing.
        scores: all 0 for an omission.
        phonemes: the phonemes it should have; empty for an insertion.
        heard_phonemes: of a word with an error, the best reading of what was said instead; empty for an omission. None
            for a word without one.
    """

    word: str
    start: float | None
    end: float | None
    error_type: ErrorType
    scores: WordScores
    phonemes: list[Phoneme]
    heard_phonemes: list[str] | None = None


@dataclass(frozen=True, slots=True)
class DecodedPhoneme:
    """A phoneme that was heard, whatever the text says."""

    phoneme: str
    ipa: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A silence between two stretches of speech, in seconds."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class FluencyInfo:
    """How fast and how continuously was spoken.

    Attributes:
        words_per_minute: None where nothing was spoken; without a text estimated from the syllables.
        articulation_rate: syllables per second of speech, pauses left out; None where nothing was spoken.
        phonation_ratio: share of the time from the first to the last sound that is speech, 0 to 1.
        pauses: in time order.
    """

    words_per_minute: float | None
    articulation_rate: float | None
    phonation_ratio: float | None
    pauses: list[Pause]


@dataclass(frozen=True, slots=True)
class PitchPoint:
    """The fundamental frequency at one time."""

    time: float
    hz: float


@dataclass(frozen=True, slots=True)
class PitchInfo:
    """The melody of the voice; the figures are None where nothing is voiced.

    Attributes:
        median_hz: median fundamental frequency in Hz.
        range_semitones: how far it moves, in semitones.
        contour: voiced points only, in time order.
    """

    median_hz: float | None
    range_semitones: float | None
    contour: list[PitchPoint]


@dataclass(frozen=True, slots=True)
class ReferenceAudio:
    """The text as the service says it: either ``clip`` or ``clip_id`` is set.

    Attributes:
        format: of the file.
        sample_rate: in Hz.
        voice: that speaks.
        seconds: its length.
        clip: the file itself.
        clip_id: of the file in the temporary cache.
    """

    format: str
    sample_rate: int
    voice: str
    seconds: float
    clip: Clip | None = None
    clip_id: str | None = None


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The models that were used; None for one that was not."""

    phoneme: str
    tts: str | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds that each stage took."""

    decode: float
    acoustic: float
    scoring: float
    tts: float
    total: float


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """Everything that one analysis found.

    Attributes:
        request_id: of the request that asked for it.
        mode: ``"scripted"`` with a text, ``"unscripted"`` without.
        language: of the phonemes and the lexicon, such as ``"en-us"``.
        text: as it was sent, None without one.
        audio: what was decoded.
        scores: of the whole recording.
        words: in the text's order, insertions where they were spoken; empty without a text.
        phonemes: what was heard without looking at the text, in time order.
        fluency: rates and pauses.
        pitch: the melody.
        models: what was used.
        timings_ms: how long each stage took.
        reference_audio: the text spoken back, None where it was not asked for or could not be made.
        warnings: sentences about what the result lacks although it was asked for.
    """

    request_id: str
    mode: Mode
    language: str
    text: str | None
    audio: AudioInfo
    scores: SentenceScores
    words: list[Word]
    phonemes: list[DecodedPhoneme]
    fluency: FluencyInfo
    pitch: PitchInfo
    models: ModelNames
    timings_ms: Timings
    reference_audio: ReferenceAudio | None = None
    warnings: list[str] = field(default_factory=list)
