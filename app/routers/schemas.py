"""The answer of ``POST /analyze``: the shape of :mod:`app.core.results`, with numbers rounded to what they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat
from pydantic_core import to_json

from app.core.clip import Clip
from app.core.results import AnalysisResult, ErrorType, Mode

AUDIO_PATH = "/audio/"
"""Where the clips of the temporary cache are found."""


def _to_milli(value: float) -> float:
    return round(value, 3)


def _to_deci(value: float) -> float:
    return round(value, 1)


Seconds = Annotated[FiniteFloat, AfterValidator(_to_milli), Field(ge=0)]
Share = Annotated[FiniteFloat, AfterValidator(_to_milli), Field(ge=0, le=1)]
Score = Annotated[FiniteFloat, AfterValidator(_to_deci), Field(ge=0, le=100)]
Tenths = Annotated[FiniteFloat, AfterValidator(_to_deci)]
Link = Annotated[str, BeforeValidator(lambda clip_id: f"{AUDIO_PATH}{clip_id}")]


class _FromResult(BaseModel):
    model_config = ConfigDict(from_attributes=True, frozen=True)


class AudioInfo(_FromResult):
    """What was decoded."""

    duration: Seconds = Field(description="Length of the recording in seconds.")
    sample_rate: int = Field(description="Sample rate in Hz.")
    channels: int = Field(description="Number of channels.")
    format: str = Field(description="Container or codec.")
    speech_duration: Seconds = Field(description="Seconds in which somebody speaks.")
    snr_db: Tenths | None = Field(description="Signal-to-noise ratio in dB; null where it cannot be told.")
    clipping_ratio: Share = Field(description="Share of samples at full scale.")
    url: Link | None = Field(
        None, validation_alias="clip_id", description="The recording in the temporary cache; null where it is not kept."
    )


class SentenceScores(_FromResult):
    """Scores of the whole recording, 0 to 100; without a text only `fluency` is not null."""

    pronunciation: Score | None
    accuracy: Score | None
    fluency: Score | None
    completeness: Score | None
    prosody: Score | None


class WordScores(_FromResult):
    """Scores of a word, 0 to 100."""

    accuracy: Score
    stress: Score
    total: Score


class HeardPhoneme(_FromResult):
    """A phoneme that a segment may have been."""

    phoneme: str = Field(description="ARPAbet, without stress digit.")
    probability: Share


class Phoneme(_FromResult):
    """A phoneme that a word should have."""

    phoneme: str = Field(description="ARPAbet, without stress digit.")
    stress: int | None = Field(description="0, 1, 2, or null.")
    ipa: str
    start: Seconds | None = Field(description="Null where the word was left out.")
    end: Seconds | None = Field(description="Null where the word was left out.")
    score: Score
    heard: list[HeardPhoneme] = Field(description="The three most probable phonemes, best first.")


class Word(_FromResult):
    """A word of the text, or an insertion: a spoken stretch that the text does not have."""

    word: str = Field(description="As in the text; an insertion's phonemes in IPA between slashes.")
    start: Seconds | None = Field(description="Null for an omission.")
    end: Seconds | None = Field(description="Null for an omission.")
    error_type: ErrorType
    scores: WordScores
    phonemes: list[Phoneme] = Field(description="What it should have; empty for an insertion.")
    heard_phonemes: list[str] | None = Field(
        None,
        description="Of a word with an error: what was said instead, ready for `/synthesize`; empty for an omission. "
        "Null for a word without one.",
    )


class DecodedPhoneme(_FromResult):
    """A phoneme that was heard, whatever the text says."""

    phoneme: str = Field(description="ARPAbet, without stress digit.")
    ipa: str
    start: Seconds
    end: Seconds
    probability: Share


class Pause(_FromResult):
    """A silence between two stretches of speech."""

    start: Seconds
    end: Seconds


class FluencyInfo(_FromResult):
    """How fast and how continuously was spoken."""

    words_per_minute: Tenths | None = Field(description="Without a text estimated from the syllables.")
    articulation_rate: Tenths | None = Field(description="Syllables per second of speech, pauses left out.")
    phonation_ratio: Share | None = Field(description="Share of speech between the first and the last sound.")
    pauses: list[Pause]


class PitchPoint(_FromResult):
    """The fundamental frequency at one time."""

    time: Seconds
    hz: Tenths


class PitchInfo(_FromResult):
    """The melody of the voice; null where nothing is voiced."""

    median_hz: Tenths | None
    range_semitones: Tenths | None
    contour: list[PitchPoint] = Field(description="Voiced points only.")


class ReferenceAudio(_FromResult):
    """The text spoken back, in one of two ways."""

    format: str
    sample_rate: int
    base64: str | None = Field(None, description="With `inline`: the file.")
    url: Link | None = Field(None, validation_alias="clip_id", description="With `url`: where to get it for a while.")


class ModelNames(_FromResult):
    """The models that were used; null for one that was not."""

    phoneme: str
    tts: str | None = None


class Timings(_FromResult):
    """Milliseconds that each stage took."""

    decode: Tenths
    acoustic: Tenths
    scoring: Tenths
    tts: Tenths
    total: Tenths


class AnalysisResponse(_FromResult):
    """Everything that one analysis found. Times are seconds from the start of the recording, scores 0 to 100."""

    request_id: str = Field(description="The same as the header X-Request-ID.")
    mode: Mode = Field(description="scripted with a text, unscripted without.")
    language: str
    text: str | None
    audio: AudioInfo
    scores: SentenceScores
    words: list[Word] = Field(description="In the text's order; empty without a text.")
    phonemes: list[DecodedPhoneme] = Field(description="What was heard without looking at the text, in time order.")
    fluency: FluencyInfo
    pitch: PitchInfo
    reference_audio: ReferenceAudio | None = None
    models: ModelNames
    timings_ms: Timings
    warnings: list[str] = Field([], description="What the answer lacks although it was asked for.")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's JSON, with the place where a clip's base64 belongs; that is made while it is sent, piece by piece.

    Attributes:
        head: everything before the clip.
        clip: None where there is none inline.
        tail: everything after it.
    """

    head: bytes
    clip: Clip | None = None
    tail: bytes = b""

    @property
    def length(self) -> int:
        """Bytes altogether."""
        return len(self.head) + (self.clip.base64_size if self.clip else 0) + len(self.tail)

    def pieces(self) -> Iterator[bytes]:
        """The bytes, in order."""
        yield self.head
        if self.clip is not None:
            yield from self.clip.base64_pieces()
        yield self.tail


def serialize(result: AnalysisResult) -> Answer:
    """Round a result and write it as JSON.

    Raises:
        ValidationError: a number is not finite or out of its range, which is a fault of the service.
    """
    response = AnalysisResponse.model_validate(result)
    reference = result.reference_audio
    if reference is None or reference.clip is None:
        # Only one of the clip's two places is there; everywhere else null is an answer.
        absent = None if reference is None else {"reference_audio": {"base64"}}
        return Answer(response.model_dump_json(exclude=absent).encode())
    content = response.model_dump_json(exclude={"reference_audio"}).encode()
    audio = to_json({"format": reference.format, "sample_rate": reference.sample_rate})
    return Answer(
        content.removesuffix(b"}") + b',"reference_audio":' + audio.removesuffix(b"}") + b',"base64":"',
        reference.clip,
        b'"}}',
    )
