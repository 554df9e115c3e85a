"""The voice is there when somebody speaks, gone when nobody does, and never taken from somebody who does."""

from __future__ import annotations

import io
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app.core.clip import Clip
from app.core.errors import AnalysisTimeout, InvalidInput, ModelError
from app.core.lexicon import Lexicon
from app.core.memory_utils import configure_memory_logging, force_cleanup, rss_mb
from app.core.model_cache import ModelCache
from app.core.phrasing import phrases_of_text
from app.core.pronunciation import Pronunciation, parse_pronunciation
from app.core.speech_synthesizer import SpeechSynthesizer
from app.core.voice import Phrase, VoiceMemory, load_voice

RATE = 8000
TWO_SENTENCES = "We call it bear. It sleeps."


class FakeVoice:
    """Says a constant for each phrase: its number of words, in hundredths, a thousand samples long at speed 1."""

    name = "fake"
    sample_rate = RATE

    def __init__(self, on_speak: Callable[[], None] = lambda: None, *, speaks_phonemes: bool = True) -> None:
        self.speaks_phonemes = speaks_phonemes
        self.spoken: list[Phrase] = []
        self._on_speak = on_speak

    def speak(self, phrase: Phrase, speed: float) -> NDArray[np.float32]:
        self.spoken.append(phrase)
        self._on_speak()
        return np.full(int(1000 / speed), len(phrase) / 100, np.float32)


class Loader:
    """Makes fake voices and keeps no hold of them."""

    def __init__(self, on_speak: Callable[[], None] = lambda: None, *, speaks_phonemes: bool = True) -> None:
        self.made: list[weakref.ref[FakeVoice]] = []
        self._on_speak = on_speak
        self._speaks_phonemes = speaks_phonemes

    def __call__(self) -> FakeVoice:
        voice = FakeVoice(self._on_speak, speaks_phonemes=self._speaks_phonemes)
        self.made.append(weakref.ref(voice))
        return voice

    @property
    def alive(self) -> int:
        return sum(made() is not None for made in self.made)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest.fixture
def plan(lexicon: Lexicon) -> Callable[[str], list[Phrase]]:
    return lambda text: phrases_of_text(text, lexicon.words(text))


@pytest.fixture
def stage_logging() -> Iterator[None]:
    configure_memory_logging(True)
    yield
    configure_memory_logging(False)


def said(symbols: str) -> Pronunciation:
    return parse_pronunciation(symbols.split())


def samples_of(clip: Clip) -> NDArray[np.float32]:
    samples, rate = soundfile.read(io.BytesIO(b"".join(clip.pieces())), dtype="float32")
    assert rate == clip.sample_rate
    return np.asarray(samples)


def test_phrases_follow_each_other_in_one_clip(lexicon: Lexicon) -> None:
    synthesizer = SpeechSynthesizer(ModelCache(), Loader())
    phrases = synthesizer.plan_text(TWO_SENTENCES, lexicon.words(TWO_SENTENCES), 2.0)
    clip = synthesizer.synthesize(phrases, 2.0)
    assert (clip.sample_rate, clip.voice, clip.seconds) == (RATE, "fake", 1000 / RATE)
    assert samples_of(clip) == pytest.approx(np.repeat([0.04, 0.02], 500), abs=1e-4)


def test_the_voice_is_loaded_when_first_needed_and_kept(plan: Callable[[str], list[Phrase]]) -> None:
    load, cache = Loader(), ModelCache()
    synthesizer = SpeechSynthesizer(cache, load)
    assert not synthesizer.loaded
    assert not synthesizer.unload()
    for _ in range(3):
        synthesizer.synthesize(plan("bear"))
    assert synthesizer.loaded
    assert len(load.made) == 1
    assert synthesizer.unload()
    assert not synthesizer.loaded
    assert load.alive == 0
    synthesizer.synthesize(plan("bear"))
    assert len(load.made) == 2


def test_without_a_model_cache_it_goes_after_each_call(plan: Callable[[str], list[Phrase]]) -> None:
    load = Loader()
    synthesizer = SpeechSynthesizer(ModelCache(keep=False), load)
    for _ in range(3):
        synthesizer.synthesize(plan("bear"))
        assert not synthesizer.loaded
        assert load.alive == 0
    assert len(load.made) == 3


def test_it_is_not_taken_from_somebody_who_speaks(plan: Callable[[str], list[Phrase]]) -> None:
    clock, refused = Clock(), []

    def take_it() -> None:
        clock.now += 1000
        refused.append((synthesizer.unload(), synthesizer.unload_unused(), synthesizer.loaded))

    load = Loader(take_it)
    synthesizer = SpeechSynthesizer(ModelCache(), load, idle_seconds=300, clock=clock)
    clip = synthesizer.synthesize(plan(TWO_SENTENCES))
    assert refused == [(False, False, True)] * 2
    assert len(load.made) == load.alive == 1
    assert clip.seconds == 2000 / RATE
    assert synthesizer.unload()


def test_it_goes_when_nobody_has_used_it_for_a_while(plan: Callable[[str], list[Phrase]]) -> None:
    clock, load = Clock(), Loader()
    synthesizer = SpeechSynthesizer(ModelCache(), load, idle_seconds=300, clock=clock)
    synthesizer.synthesize(plan("bear"))
    clock.now += 200
    synthesizer.synthesize(plan("bear"))
    clock.now += 299
    assert not synthesizer.unload_unused()
    assert load.alive == 1
    clock.now += 1
    assert synthesizer.unload_unused()
    assert load.alive == 0
    assert not synthesizer.unload_unused()


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_what_takes_too_long_is_refused_before_anything_is_loaded(lexicon: Lexicon, speed: float) -> None:
    load = Loader()
    synthesizer = SpeechSynthesizer(ModelCache(), load, max_seconds=10)
    short, long = "We call it bear.", "We call it bear. " * 20
    synthesizer.plan_text(short, lexicon.words(short), speed)
    with pytest.raises(InvalidInput, match="10 s is the most") as refused:
        synthesizer.plan_text(long, lexicon.words(long), speed)
    assert refused.value.field == "text"
    synthesizer.plan_phonemes(said("B EH R"), speed)
    with pytest.raises(InvalidInput, match="10 s is the most") as refused:
        synthesizer.plan_phonemes(said("B EH R " * 100), speed)
    assert refused.value.field == "phonemes"
    assert load.made == []


def test_said_faster_more_fits_in(lexicon: Lexicon) -> None:
    synthesizer = SpeechSynthesizer(ModelCache(), Loader(), max_seconds=1.5)
    text = "We call it a big bear."
    words = lexicon.words(text)
    assert synthesizer.plan_text(text, words, 2.0)
    with pytest.raises(InvalidInput):
        synthesizer.plan_text(text, words, 1.0)


def test_a_call_that_nobody_waits_for_stops_after_its_phrase(plan: Callable[[str], list[Phrase]]) -> None:
    cancelled = threading.Event()
    spoken = []

    def first_phrase() -> None:
        spoken.append(1)
        cancelled.set()

    synthesizer = SpeechSynthesizer(ModelCache(), Loader(first_phrase))
    with pytest.raises(AnalysisTimeout):
        synthesizer.synthesize(plan(TWO_SENTENCES), cancelled=cancelled)
    assert spoken == [1]
    assert synthesizer.unload()


def test_a_voice_that_reads_letters_refuses_phonemes(plan: Callable[[str], list[Phrase]]) -> None:
    synthesizer = SpeechSynthesizer(ModelCache(), Loader(speaks_phonemes=False))
    with pytest.raises(InvalidInput, match="fake") as refused:
        synthesizer.synthesize(synthesizer.plan_phonemes(said("B EH R")))
    assert refused.value.field == "phonemes"
    assert synthesizer.synthesize(plan("bear")).seconds > 0


def test_a_load_that_fails_is_tried_again_by_the_next_call(plan: Callable[[str], list[Phrase]]) -> None:
    voices: list[FakeVoice | None] = [None, FakeVoice()]

    def load() -> FakeVoice:
        voice = voices.pop(0)
        if voice is None:
            raise ModelError("There is no such voice.")
        return voice

    synthesizer = SpeechSynthesizer(ModelCache(), load)
    with pytest.raises(ModelError, match="no such voice"):
        synthesizer.synthesize(plan("bear"))
    assert not synthesizer.loaded
    assert synthesizer.synthesize(plan("bear")).seconds > 0


def test_a_phrase_that_fails_lets_go_of_the_voice(plan: Callable[[str], list[Phrase]]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    synthesizer = SpeechSynthesizer(ModelCache(), Loader(fail))
    with pytest.raises(ZeroDivisionError):
        synthesizer.synthesize(plan("bear"))
    assert synthesizer.unload()


def test_threads_take_turns_with_one_voice(plan: Callable[[str], list[Phrase]]) -> None:
    inside: list[int] = []
    overlaps = []
    never = threading.Event()

    def speak() -> None:
        inside.append(1)
        overlaps.append(len(inside))
        never.wait(0.003)  # time for the others to come in
        inside.pop()

    load = Loader(speak)
    synthesizer = SpeechSynthesizer(ModelCache(), load)
    phrases, together = plan(TWO_SENTENCES), threading.Barrier(4, timeout=10)

    def call(_: int) -> NDArray[np.float32]:
        together.wait()
        return samples_of(synthesizer.synthesize(phrases))

    with ThreadPoolExecutor(4) as pool:
        clips = list(pool.map(call, range(4)))
    assert len(load.made) == 1
    assert overlaps == [1] * 8
    assert all(np.array_equal(clip, clips[0]) for clip in clips)


def test_memory_is_foretold_with_the_voice_until_it_is_there(plan: Callable[[str], list[Phrase]]) -> None:
    synthesizer = SpeechSynthesizer(ModelCache(), Loader(), memory=VoiceMemory(70.0, 1.0))
    hungry = SpeechSynthesizer(ModelCache(), Loader(), memory=VoiceMemory(70.0, 3.0))
    short, long = plan("bear"), plan(TWO_SENTENCES * 3)
    before = synthesizer.memory_mb(short)
    assert synthesizer.memory_mb(long) > before
    assert synthesizer.memory_mb(short, 0.5) > before
    synthesizer.synthesize(short)
    hungry.synthesize(short)
    assert synthesizer.memory_mb(short) == pytest.approx(before - 70)
    assert hungry.memory_mb(short) == pytest.approx(3 * synthesizer.memory_mb(short))


@pytest.mark.usefixtures("stage_logging")
def test_it_is_a_tracked_stage(plan: Callable[[str], list[Phrase]], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="app.memory"):
        SpeechSynthesizer(ModelCache(), Loader()).synthesize(plan("bear"))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert lines[0].startswith("[TTS Audio Generation] RSS: ")


def test_loading_and_unloading_the_real_voice_leaves_no_memory_behind(plan: Callable[[str], list[Phrase]]) -> None:
    synthesizer = SpeechSynthesizer(ModelCache(), load_voice)
    phrases = plan("Please turn right at the next corner.")

    def come_and_go(times: int) -> float:
        for _ in range(times):
            assert synthesizer.synthesize(phrases).seconds > 1
            assert synthesizer.unload()
        force_cleanup()
        return rss_mb()

    before = come_and_go(4)
    assert come_and_go(15) - before < 10
