"""What the symbols of foreign phoneme vocabularies (IPA, or ARPAbet as TIMIT and CMUdict write it) mean in ours.

A symbol means one phoneme, several, no speech at all (``BLANK``), or nothing that English has. Several share its
probability equally, be it that they follow one another in one symbol (``"ɑːɹ"``: AA, R) or that the symbol leaves open
which one was meant (the flap ``"ɾ"`` of *water* and of *ladder*: T, D). The vocabulary does not say how a model's
frame divides among them, and equal parts cost each of them log 2 at most, while to choose one would leave the other
with nothing. The limit: such a phoneme's posterior cannot exceed one half, so a score made from it is a little low.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.phonemes import BLANK, CLASS_IDS, CLASSES, PHONEMES

# One IPA letter, or letters that make one phoneme of English. Letters English lacks go to the phoneme next to them in
# place and manner; front rounded vowels to the back rounded ones that English listeners take them for (Strange et al.,
# 2005); clicks, lateral fricatives, pharyngeals and trills of the lips to nothing. x and its neighbours stay fricatives
# (HH): Mandarin and Spanish speakers' h is an x.
_IPA = {
    "AA": "ɑ a ɒ",
    "AE": "æ",
    "AH": "ʌ ə ɐ ɘ ɤ",
    "AO": "ɔ",
    "AW": "aʊ ɑʊ æʊ au ɑu aw",
    "AY": "aɪ ɑɪ ɐɪ ʌɪ ai ɑi aj",
    "B": "b ɓ",
    "CH": "tʃ ʧ tɕ ʨ tʂ ʈʂ",
    "D": "d ɖ ɗ",
    "DH": "ð",
    "EH": "ɛ",
    "ER": "ɝ ɚ ɜ ɞ ɜɹ əɹ ɝɹ ɚɹ ɜr ər",
    "EY": "eɪ ɛɪ æɪ ei æi ej e",
    "F": "f ɸ",
    "G": "ɡ ɣ ɢ ɠ ɟ",
    "HH": "h ɦ x χ ħ ç",
    "IH": "ɪ ɨ ᵻ",
    "IY": "i",
    "JH": "dʒ ʤ dʑ ʥ dʐ ɖʐ",
    "K": "k q c",
    "L": "l ɫ ɭ",
    "M": "m ɱ",
    "N": "n ɳ",
    "NG": "ŋ ɴ",
    "OW": "oʊ əʊ ɔʊ ʌʊ ou əu ow o",
    "OY": "ɔɪ oɪ ɔi oi ɔj oj ɔʏ ɔø",
    "P": "p",
    "R": "ɹ r ɻ ʁ ʀ ɽ",
    "S": "s",
    "SH": "ʃ ɕ ʂ",
    "T": "t ʈ",
    "TH": "θ",
    "UH": "ʊ ɵ ʏ ø œ",
    "UW": "u ʉ ɯ y",
    "V": "v ʋ β",
    "W": "w ʍ",
    "Y": "j ʝ",
    "Z": "z",
    "ZH": "ʒ ʑ ʐ",
}
# Symbols that mean several phonemes, or other ones than their letters would. A glottal stop is how English begins a
# vowel: no phoneme of it. The centring diphthongs are the British near, square and cure.
_IPA_SEVERAL = {
    "ɾ": "T D", "ʔ": BLANK, "oɹ": "AO R", "or": "AO R", "ɪə": "IH R", "eə": "EH R", "ɛə": "EH R", "ʊə": "UH R",
    "ʎ": "L Y", "ɲ": "N Y", "ɥ": "Y W", "ʦ": "T S", "ʣ": "D Z",
}  # fmt: skip
# What TIMIT and its kin add to the 39 (Lee & Hon, 1989, fold them likewise, but for the flap and the syllabic
# consonants, which CMUdict writes as a vowel and a consonant). Closures are silence: the release carries the phoneme.
_ARPABET_MORE = {
    "AX": "AH", "AX-H": "AH", "AXH": "AH", "IX": "IH", "UX": "UW", "AXR": "ER", "H": "HH", "HV": "HH", "NX": "N",
    "WH": "W", "DX": "T D", "EL": "AH L", "EM": "AH M", "EN": "AH N", "ENG": "NG", "Q": BLANK,
    "BCL": BLANK, "DCL": BLANK, "GCL": BLANK, "KCL": BLANK, "PCL": BLANK, "TCL": BLANK,
}  # fmt: skip
# Separators, and the names under which corpora write silence and noise.
_SILENCES = frozenset({
    "", "|", "_", "-", "▁", "'", ",", ".", "?", "!", "#", "h#", "sil", "pau", "epi", "sp", "spn", "nsn", "noise",
    "cl", "vcl", "blank", "pad", "unk",
})  # fmt: skip
_SPECIAL = re.compile(r"[<\[].*[>\]]")
_TONE_THREE = re.compile(r"(?<=[aeiouyæɑɛəɔnɡr])ɜ$")  # espeak writes the Mandarin tone 3 as ɜ
_ASPIRATED = re.compile(r"(?<=[ptkcsɕʂʃ])h$")
_MOST_PHONEMES = 3  # a symbol of more is a syllable or a word
# Vocabularies without the first phoneme write the second for it, as TIMIT's folding to 39 does, or (OY) its beginning.
_LENDERS = (("AO", "AA"), ("ZH", "SH"), ("OY", "AO"))
_LENT = 0.25  # the rarer phoneme's part; leaves the lender with little less than it had (log 4/3)

_TABLE: dict[str, tuple[str, ...]] = {
    **{symbol: (phoneme,) for phoneme, symbols in _IPA.items() for symbol in symbols.split()},
    **{symbol: tuple(phonemes.split()) for symbol, phonemes in _IPA_SEVERAL.items()},
}
_LONGEST = max(map(len, _TABLE))


def is_silence(symbol: str) -> bool:
    """Whether a vocabulary's symbol is a special token, a word separator or a name of silence or noise."""
    bare = symbol.strip().lower()
    return bare in _SILENCES or _SPECIAL.fullmatch(bare) is not None


def classes_of_ipa(symbol: str) -> tuple[str, ...]:
    """The phonemes that an IPA symbol means, as espeak, TIMIT's and Wiktionary's users write it.

    Length, stress, ties, tones and diacritics are dropped, but for the syllabic mark and the rhotic hook.

    Args:
        symbol: one entry of a vocabulary, e.g. ``"aɪ"``, ``"oːɹ"``, ``"t͡ʃ"``, ``"n̩"``.

    Returns:
        One to three names of ``app.core.phonemes.CLASSES``: ``("AY",)``, ``("AO", "R")``, ``("CH",)``,
        ``("AH", "N")``; ``(BLANK,)`` for silence; ``()`` if English has nothing near.
    """
    if is_silence(symbol):
        return (BLANK,)
    letters = _bare_letters(symbol)
    found: list[str] = []
    at = 0
    while at < len(letters):
        size = next((n for n in range(_LONGEST, 0, -1) if letters[at : at + n] in _TABLE and at + n <= len(letters)), 0)
        if size == 0:
            return ()
        found += [name for name in _TABLE[letters[at : at + size]] if name not in found]
        at += size
    return tuple(found) if len(found) <= _MOST_PHONEMES else ()


def _bare_letters(symbol: str) -> str:
    """The IPA letters of a symbol in the order they are spoken, marks resolved."""
    text = unicodedata.normalize("NFD", symbol.strip()).replace("c\u0327", "ç").replace("g", "ɡ")
    text = text.replace("s.", "ʂ").replace("z.", "ʐ").replace("\u02de", "ɹ")  # espeak's Mandarin; the rhotic hook
    text = re.sub("[rɹ][\u0329\u030d]", "ɝ", text)
    text = re.sub("([lmn])[\u0329\u030d]", r"ə\1", text)
    kept = "".join(mark for mark in text if unicodedata.category(mark) in ("Ll", "Lo", "Lu") or mark == "ᵻ")
    return _ASPIRATED.sub("", _TONE_THREE.sub("", kept))


def classes_of_arpabet(symbol: str) -> tuple[str, ...]:
    """The phonemes that a symbol of CMUdict or TIMIT means, in any case, with or without a stress digit.

    Args:
        symbol: one entry of a vocabulary, e.g. ``"IY1"``, ``"ax"``, ``"dx"``, ``"bcl"``.

    Returns:
        As :func:`classes_of_ipa`: ``("IY",)``, ``("AH",)``, ``("T", "D")``, ``(BLANK,)``; ``()`` if it is none.
    """
    if is_silence(symbol):
        return (BLANK,)
    name = symbol.strip().upper().split("_")[0].rstrip("0123456789")
    if name in _ARPABET_MORE:
        return tuple(_ARPABET_MORE[name].split())
    return (name,) if name in CLASS_IDS and name != BLANK else ()


def class_shares(vocabulary: Sequence[str | None], blank_id: int) -> NDArray[np.float64]:
    """How each output of a model is divided among our classes, in the notation that reaches more phonemes.

    Args:
        vocabulary: the symbol of each output, ``None`` where it has none; length V.
        blank_id: the output that is the CTC blank, 0 to V - 1.

    Returns:
        ``(V, 40)``; each row sums to 1, or to 0 where the symbol means nothing we know.
    """
    plans = [_shares(vocabulary, blank_id, meaning) for meaning in (classes_of_ipa, classes_of_arpabet)]
    return max(plans, key=lambda plan: len(reached(plan)))


def reached(shares: NDArray[np.float64]) -> frozenset[str]:
    """The phonemes that some output of a model gives a share to; ``shares`` is ``(V, 40)``."""
    return frozenset(name for name in PHONEMES if shares[:, CLASS_IDS[name]].any())


def _shares(
    vocabulary: Sequence[str | None], blank_id: int, meaning: Callable[[str], tuple[str, ...]]
) -> NDArray[np.float64]:
    meanings = [() if symbol is None else meaning(symbol) for symbol in vocabulary]
    meanings[blank_id] = (BLANK,)
    heard = {name for classes in meanings for name in classes}
    if "AY" not in heard and "AW" not in heard:
        # Letter by letter, English diphthongs begin with an "a" that English has nowhere else.
        split = (
            ("AY", "AW") if any(c == ("AA",) and s != "a" for s, c in zip(vocabulary, meanings, strict=True)) else ()
        )
        meanings = [split or c if s == "a" else c for s, c in zip(vocabulary, meanings, strict=True)]
    shares = np.zeros((len(vocabulary), len(CLASSES)))
    for output, classes in enumerate(meanings):
        for name in classes:
            shares[output, CLASS_IDS[name]] = 1 / len(classes)
    return shares


def lend_to_unreached(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give AO, ZH and OY a quarter of their neighbour's share (AA, SH, AO) where no output means them.

    Lee & Hon (1989) fold AO into AA and ZH into SH; a model trained so cannot tell them apart, and without this every
    AO would count as mispronounced.

    Args:
        shares: ``(V, 40)``, of :func:`class_shares`.

    Returns:
        A new ``(V, 40)``; each row's sum is as before.
    """
    lent = shares.copy()
    missing = frozenset(PHONEMES) - reached(shares)
    for phoneme, lender in _LENDERS:
        if phoneme in missing:
            lent[:, CLASS_IDS[phoneme]] = _LENT * lent[:, CLASS_IDS[lender]]
            lent[:, CLASS_IDS[lender]] *= 1 - _LENT
    return lent
