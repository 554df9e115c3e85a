"""The 39 ARPAbet phonemes of American English (CMUdict's set), their IPA, and their place in a model's output."""

from __future__ import annotations

BLANK = "<blank>"

ARPABET_TO_IPA: dict[str, str] = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɝ", "EY": "eɪ", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "dʒ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ", "OY": "ɔɪ", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ",
    "T": "t", "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip

PHONEMES: tuple[str, ...] = tuple(sorted(ARPABET_TO_IPA))
"""The phonemes in the order of the acoustic model's output; index ``i`` here is class ``i + 1`` there."""

CLASSES: tuple[str, ...] = (BLANK, *PHONEMES)
"""The 40 classes of a frame: blank first, then the phonemes."""

CLASS_IDS: dict[str, int] = {name: index for index, name in enumerate(CLASSES)}

VOWELS: frozenset[str] = frozenset(
    ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
)


def split_stress(symbol: str) -> tuple[str, int | None]:
    """Split ``"IY1"`` into ``("IY", 1)`` and ``"K"`` into ``("K", None)``; upper-cases, checks nothing else."""
    symbol = symbol.strip().upper()
    if symbol and symbol[-1] in "012":
        return symbol[:-1], int(symbol[-1])
    return symbol, None


def ipa(phoneme: str, stress: int | None = None) -> str:
    """The IPA of an ARPAbet phoneme without its stress digit; unstressed AH and ER are the reduced ə and ɚ."""
    if stress == 0 and phoneme == "AH":
        return "ə"
    if stress == 0 and phoneme == "ER":
        return "ɚ"
    return ARPABET_TO_IPA[phoneme]
