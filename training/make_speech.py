"""Speech whose pronunciation is known: the built-in voice reads texts rightly, and wrongly in places.

    python -m training.make_speech --data DATA --out SPEECH

``SPEECH`` gets the corpus's layout: ``labels.jsonl`` and ``audio/``. A word's ``said`` has the phonemes that were
spoken where they differ from ``phones``. Sentences and single words; a third of the latter are any of the dictionary.
The voice is one woman's: others are made by playing it faster or slower, which moves pitch and formants.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from app.core.lexicon import Lexicon, LexiconWord
from app.core.phonemes import PHONEMES, VOWELS
from app.core.phrasing import phrases_of_text
from app.core.pronunciation import Pronunciation
from app.core.voice import Voice, load_voice
from training.corpus import SAMPLE_RATE, load_corpus
from training.readings import CLEARLY_WRONG, CONFUSED

KINDS = ("replaced", "replaced", "replaced", "replaced", "left out", "put in")
PLAYED = (0.88, 1.0, 1.0, 1.15, 1.3)
"""Speeds at which the voice is played, while it speaks the slower: a low voice, her own, and children's."""

_WELL, _SPOKEN = 2.0, 9.5  # what it scores where it is right, of 2 and of 10


def change(
    said: Pronunciation, kind: str, rng: random.Random, confused: float = 0.75
) -> tuple[Pronunciation, list[float | None]]:
    """Mispronounce a word.

    Args:
        said: how it should be said.
        kind: one of ``KINDS``; what has no place for it gets another phoneme instead.
        rng: decides where, and what.
        confused: of the replacements, those by what learners say for a phoneme; the others are by any phoneme, now and
            then by itself.

    Returns:
        What to say instead, and what each phoneme of ``said`` then scores, 0 to 2; None where that is hard to tell.
    """
    pairs = list(zip(said.phonemes, said.stresses, strict=True))
    scores: list[float | None] = [_WELL] * len(pairs)
    place = rng.randrange(len(pairs))
    following = (*said.phonemes[1:], "")
    gaps = [i for i, p in enumerate(said.phonemes, 1) if p not in VOWELS and following[i - 1] not in VOWELS]
    if kind == "left out" and len(pairs) > 2:
        del pairs[place]
        scores[place] = 0.0
    elif kind == "put in" and gaps:
        at = rng.choice(gaps)
        pairs.insert(at, ("AH", 0))
        scores[at - 1] = None
        if at < len(scores):
            scores[at] = None
    else:
        phoneme, stress = pairs[place]
        other = rng.choice(CONFUSED[phoneme] if rng.random() < confused else PHONEMES)
        if other != phoneme:
            pairs[place] = (other, stress if other in VOWELS else None)
            scores[place] = 2 * CLEARLY_WRONG
    phonemes, stresses = zip(*pairs, strict=True)
    return Pronunciation(phonemes, stresses), scores


class Studio:
    """Reads texts aloud, with changes.

    Args:
        lexicon: knows how words are said.
        voice: says them.
    """

    def __init__(self, lexicon: Lexicon, voice: Voice) -> None:
        self._lexicon, self._voice = lexicon, voice

    def read(self, text: str, wrong_words: int, rng: random.Random) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Say a text with some of its words mispronounced.

        Returns:
            Its sentence scores and words as the corpus has them, and ``(N,)`` samples at 16 kHz.
        """
        words = self._lexicon.words(text)
        chosen = set(rng.sample(range(len(words)), min(wrong_words, len(words))))
        spoken, records = [], []
        for number, word in enumerate(words):
            said, record = self._word(word, rng, wrong=number in chosen)
            records.append(record)
            spoken.append(LexiconWord(word.text, (said,), "request"))
        played = rng.choice(PLAYED)
        phrases = phrases_of_text(text, spoken)
        speech = np.concatenate([self._voice.speak(phrase, rng.uniform(0.8, 1.1) / played) for phrase in phrases])
        audio = soxr.resample(speech, self._voice.sample_rate * played, SAMPLE_RATE).astype(np.float32)
        silence = [np.zeros(int(rng.uniform(0.05, 0.4) * SAMPLE_RATE), np.float32) for _ in range(2)]
        whole = None if any("said" in record for record in records) else _SPOKEN
        delivery = _SPOKEN if len(words) > 2 else None
        scores_of_all = {"accuracy": whole, "completeness": 10.0, "fluency": delivery, "prosodic": delivery}
        return scores_of_all | {"total": whole, "words": records}, np.concatenate([silence[0], audio, silence[1]])

    @staticmethod
    def _word(word: LexiconWord, rng: random.Random, *, wrong: bool) -> tuple[Pronunciation, dict[str, Any]]:
        """How to say a word, and its record."""
        right = word.pronunciations[0]
        said, scores = change(right, rng.choice(KINDS), rng) if wrong else (right, [_WELL] * len(right.phonemes))
        score = None if said != right else 10.0
        record: dict[str, Any] = {"text": word.text, "phones": _symbols(right), "phone_accuracy": scores}
        record |= {"accuracy": score, "stress": 10.0, "total": score}
        return said, record | ({"said": _symbols(said)} if said != right else {})


def _symbols(said: Pronunciation) -> list[str]:
    pairs = zip(said.phonemes, said.stresses, strict=True)
    return [phoneme if stress is None else f"{phoneme}{stress}" for phoneme, stress in pairs]


def choose_texts(texts: Sequence[str], sentences: int, words: int, rng: random.Random) -> list[str]:
    """Sentences of the corpus, single words of them, and single words of the dictionary."""
    used = sorted({word for text in texts for word in text.split() if len(word) > 2})
    packed = resources.files("app").joinpath("data", "cmudict.txt.xz").read_bytes()
    known = [line.split("\t")[0] for line in lzma.decompress(packed).decode().splitlines()]
    dictionary = [word for word in known if word.isalpha() and 3 <= len(word) <= 9]
    singles = [rng.choice(dictionary if rng.random() < 0.33 else used) for _ in range(words)]
    return [*rng.sample(texts, min(sentences, len(texts))), *singles]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl; its audio is not used")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=800)
    parser.add_argument("--words", type=int, default=700)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    texts = choose_texts(sorted({u.text.lower() for u in load_corpus(args.data)}), args.sentences, args.words, rng)
    studio = Studio(Lexicon(), load_voice())
    (args.out / "audio").mkdir(parents=True, exist_ok=True)
    with (args.out / "labels.jsonl").open("w", encoding="utf-8") as labels:
        for number, text in enumerate(tqdm(texts, desc="speaking", unit="text")):
            wrong = rng.choice((0, 1, 1, 2)) if " " in text else rng.choice((0, 1))
            record, samples = studio.read(text, wrong, rng)
            name = f"voice{number:05d}"
            head = {"utterance": name, "speaker": "voice", "age": 30, "gender": "f", "text": text}
            labels.write(json.dumps(head | record) + "\n")
            soundfile.write(args.out / "audio" / f"{name}.ogg", samples, SAMPLE_RATE, format="OGG", subtype="VORBIS")


if __name__ == "__main__":
    main()
