"""Scores by the head that was trained with the acoustic model, on experts' scores: ``app.core.scoring_head``.

The head runs in ONNX Runtime; its outputs are put on the experts' scale by monotone curves that were fitted on speakers
it had not heard (``training.calibrate``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.alignment import AlignedWord
from app.core.errors import ModelError
from app.core.fluency import Fluency
from app.core.onnx_session import open_session
from app.core.phoneme_tokens import PhonemeTokens, phoneme_tokens, stress_indices
from app.core.phonemes import PHONEMES
from app.core.pitch import pitch_of_frames
from app.core.pronunciation import Pronunciation
from app.core.pronunciation_scorer import Figures, Floats, SpokenText, assemble, chosen_pronunciation
from app.core.results import SentenceScores, Word
from app.core.rule_scorer import RuleScorer, delivery_features
from app.core.score_calibration import Calibration, load_calibration, share_found

HEAD_FILE = "head.onnx"
"""The structure without weights, written by ``training.export_graph``."""

MAX_SENTENCE_PHONEMES = 48
"""The head has learned from sentences of up to 42 phonemes and a few words; what is longer is read in parts."""

_GAP_WEIGHT = 0.02  # of a frame of silence, against the distance from the middle as a share of the whole


@dataclass(frozen=True, slots=True)
class HeadScores:
    """What the head says of the ``S`` words that were said, as it says it: about 0 to 1.

    Attributes:
        said: numbers of those words in the text.
        phonemes: of each of them.
        words: ``(S, 3)`` accuracy, stress and total.
        present: ``(S,)`` how probable it is that the word was said at all.
        sentence: ``(4,)`` accuracy, fluency, prosody and total.
    """

    said: Sequence[int]
    phonemes: Sequence[Floats]
    words: Floats
    present: Floats
    sentence: Floats


class HeadScorer:
    """Runs the scoring head; safe to call from several threads.

    Args:
        folder: of the acoustic model, with head.onnx, model.safetensors and calibration.json.
        rules: score fluency where there is no text.
        mispronounced_below: a word with a phoneme that scores below this is called mispronounced; None for the
            model's own operating point.
        calibration: None for the folder's.

    Raises:
        ModelError: the folder has no scoring head.
    """

    def __init__(
        self,
        folder: Path,
        rules: RuleScorer,
        mispronounced_below: float | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        try:
            self._session = open_session(folder / HEAD_FILE, weights=_load_weights(folder / "model.safetensors"))
            self._calibration = calibration or load_calibration(folder)
        except Exception as error:  # those of onnxruntime and safetensors have no base of their own
            raise ModelError(f"{folder} holds no scoring head of the built-in kind") from error
        self._rules = rules
        own = self._calibration.mispronounced_below
        self._mispronounced_below = own if mispronounced_below is None else mispronounced_below

    def score(self, spoken: SpokenText) -> tuple[list[Word], SentenceScores]:
        """See ``PronunciationScorer``."""
        return assemble(spoken, self.figures(spoken), mispronounced_below=self._mispronounced_below)

    def fluency_without_text(self, fluency: Fluency, pitch_range: float | None) -> float:
        """See ``PronunciationScorer``: the head knows sentences with a text alone."""
        return self._rules.fluency_without_text(fluency, pitch_range)

    def figures(self, spoken: SpokenText) -> Figures:
        """The calibrated scores."""
        raw, calibrate = self.outputs(spoken), self._calibration
        count = len(spoken.words)
        phonemes: list[Floats] = [np.zeros(0)] * count
        words = np.zeros((count, 3))
        aligned: list[AlignedWord | None] = [None] * count
        kept = [row for row in range(len(raw.said)) if raw.present[row] >= calibrate.present_above]
        for row in kept:
            number = raw.said[row]
            aligned[number] = spoken.alignment.words[number]
            phonemes[number] = calibrate("phoneme", raw.phonemes[row])
            words[number] = calibrate.words(raw.words[row : row + 1])[0]
        measured = delivery_features(spoken.fluency, len(kept), spoken.pitch.range_semitones)
        return Figures(
            alignment=replace(spoken.alignment, words=tuple(aligned)),
            phonemes=phonemes,
            words=words,
            sentence=calibrate.sentences(raw.sentence[None], measured[None])[0],
            found=float(share_found(raw.present[kept].mean())) if kept else 0.0,
        )

    def outputs(self, spoken: SpokenText) -> HeadScores:
        """What the head says, uncalibrated, of the words that were aligned."""
        said = [i for i, word in enumerate(spoken.alignment.words) if word is not None]
        if not said:
            return HeadScores([], [], np.zeros((0, 3)), np.zeros(0), np.zeros(4))
        posteriors = spoken.posteriors
        pitch = pitch_of_frames(spoken.pitch, len(posteriors.log_probs), posteriors.frame_seconds)
        pronunciations = [chosen_pronunciation(spoken.words[i], spoken.alignment.words[i]) for i in said]
        aligned = [word for word in spoken.alignment.words if word is not None]
        phonemes: list[Floats] = []
        words, present, sentences, weights = [], [], [], []
        for first, last in sentence_parts([len(p.phonemes) for p in pronunciations], aligned):
            tokens = _tokens(pronunciations[first:last], aligned[first:last], pitch, posteriors.frame_seconds)
            scores, of_words, logits, sentence = self._run(tokens, spoken, pitch)
            ends = np.cumsum([len(p.phonemes) for p in pronunciations[first:last]])
            phonemes += np.split(scores[0].astype(np.float64), ends[:-1])
            words.append(of_words[0])
            present.append(1 / (1 + np.exp(-logits[0].astype(np.float64))))
            sentences.append(sentence[0])
            weights.append(ends[-1])
        return HeadScores(
            said=said,
            phonemes=phonemes,
            words=np.concatenate(words).astype(np.float64),
            present=np.concatenate(present),
            sentence=np.average(np.stack(sentences), axis=0, weights=weights),
        )

    def _run(self, tokens: PhonemeTokens, spoken: SpokenText, pitch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The graph's outputs, as ``app.core.scoring_head.HeadOutputs``, of a batch of one sentence."""
        posteriors, at = spoken.posteriors, tokens.indices
        if posteriors.frames is None or posteriors.energy is None:
            raise ValueError("the posteriors are of a model without a head")
        contour = np.concatenate([posteriors.energy[at][..., None], pitch[at]], axis=-1)
        inputs: dict[str, NDArray[Any]] = {
            "log_probs": posteriors.log_probs[at],
            "frames": posteriors.frames[at],
            "contour": contour.astype(np.float32),
            "mask": tokens.mask,
            "phoneme": tokens.phoneme,
            "stress": tokens.stress,
            "place": tokens.place,
            "timing": tokens.timing,
            "membership": tokens.words,
            "delivery": tokens.delivery,
        }
        outputs: list[NDArray[np.float32]] = self._session.run(
            ("phonemes", "words", "present", "sentence"), {name: value[None] for name, value in inputs.items()}
        )
        return outputs


def sentence_parts(sizes: Sequence[int], words: Sequence[AlignedWord]) -> list[tuple[int, int]]:
    """Split a long text into parts of at most ``MAX_SENTENCE_PHONEMES`` where that is possible, at long silences.

    Args:
        sizes: phonemes of each word.
        words: where each is.

    Returns:
        Half-open ranges of words, in order.
    """
    total = sum(sizes)
    if total <= MAX_SENTENCE_PHONEMES or len(sizes) == 1:
        return [(0, len(sizes))]
    done = np.cumsum(sizes)[:-1] / total
    gaps = np.array([after.starts[0] - before.ends[-1] for before, after in pairwise(words)])
    cut = int(np.argmin(np.abs(done - 0.5) - _GAP_WEIGHT * np.clip(gaps, 0, 20))) + 1
    left, right = sentence_parts(sizes[:cut], words[:cut]), sentence_parts(sizes[cut:], words[cut:])
    return [*left, *((first + cut, last + cut) for first, last in right)]


def _tokens(
    said: Sequence[Pronunciation], aligned: Sequence[AlignedWord], pitch: NDArray[np.float32], frame_seconds: float
) -> PhonemeTokens:
    """The words that were said, with where each is, as the head takes them."""
    phonemes = [[PHONEMES.index(phoneme) for phoneme in p.phonemes] for p in said]
    stresses = [stress_indices(ids, p.stresses) for ids, p in zip(phonemes, said, strict=True)]
    segments = np.concatenate([(word.starts, word.ends, word.peaks) for word in aligned], axis=1)
    return phoneme_tokens(
        [phoneme for ids in phonemes for phoneme in ids],
        [stress for indices in stresses for stress in indices],
        [len(ids) for ids in phonemes],
        segments,
        pitch=pitch,
        frame_seconds=frame_seconds,
    )


def _load_weights(path: Path) -> dict[str, NDArray[Any]]:
    """The head's tensors by name."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as tensors:
        names = [name for name in tensors.keys() if name.startswith("head.")]  # noqa: SIM118 - no dict
        return {name: tensors.get_tensor(name).astype(np.float32) for name in names}
