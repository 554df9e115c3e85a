"""An aligner that has nothing to do with ours: pocketsphinx with the English model that comes in its package.

pip install --no-deps pocketsphinx
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from typing import Any

from app.core.lexicon import Lexicon

INSTALL = "pip install --no-deps pocketsphinx"


class SphinxAligner:
    """Finds known words, and their phonemes, in 16-bit samples at 16 kHz; on one thread. See :func:`installed`.

    Args:
        texts: all that it will be given; words of theirs that it does not know are told it, as our lexicon says them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        pocketsphinx: Any = importlib.import_module("pocketsphinx")  # looked up late: it is no dependency
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None, bestpath=False)  # as its command "align"
        self._written: dict[str, str] = {}
        lexicon = Lexicon()
        for text in texts:
            words = lexicon.words(text)
            self._written[text] = " ".join(word.text.lower() for word in words)
            for word in words:
                name = word.text.lower()
                if self._decoder.lookup_word(name) is not None:
                    continue
                for number, pronunciation in enumerate(word.pronunciations, start=1):
                    variant = name if number == 1 else f"{name}({number})"
                    self._decoder.add_word(variant, " ".join(pronunciation.phonemes), True)

    def words(self, samples: bytes, text: str) -> int:
        """Find where each word is.

        Returns:
            How many words and silences were placed; none where the end of the text was not reached.
        """
        self._decoder.set_align_text(self._written[text])
        if not self._listen(samples) or self._decoder.hyp() is None:
            return 0
        return sum(1 for _ in self._decoder.seg())

    def phonemes(self, samples: bytes, text: str) -> int:
        """Find where each word is, and in a second pass where its phonemes are.

        Returns:
            How many phonemes and silences were placed; none where either pass failed.
        """
        if not self.words(samples, text):
            return 0
        self._decoder.set_alignment()
        if not self._listen(samples):
            return 0
        return sum(1 for word in self._decoder.get_alignment() or () for _ in word)

    def _listen(self, samples: bytes) -> bool:
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(samples, full_utt=True)
            self._decoder.end_utt()
        except RuntimeError:  # there is no path to the end
            return False
        return True


def installed() -> bool:
    """Whether the aligner can be loaded here."""
    return importlib.util.find_spec("pocketsphinx") is not None
