"""Draws what :mod:`benchmarks.round_trip` found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.round_trip import Pair, Sentence


def draw(sentences: Sequence[Sentence], pairs: Sequence[Pair], path: Path) -> None:
    """Scores of each sentence with its own and with another text, and how the minimal pairs fared."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), width_ratios=(3, 2))
    order = sorted(sentences, key=lambda s: s.pronunciation)
    left.scatter([s.pronunciation for s in order], range(len(order)), color="tab:green", label="with its own text")
    left.scatter([s.another for s in order], range(len(order)), color="tab:red", label="with another text")
    left.axvline(85, color="tab:green", linestyle=":", linewidth=1)
    left.axvline(40, color="tab:red", linestyle=":", linewidth=1)
    left.set(xlim=(0, 100), yticks=[], xlabel="pronunciation score", title="30 sentences, spoken and analysed")
    left.legend(loc="center")
    colours = {0: "tab:green", 1: "tab:olive"}
    for row, pair in enumerate(reversed(pairs)):
        place = pair.heard.index(pair.phoneme) if pair.phoneme in pair.heard else 3
        right.scatter(0, row, color=colours.get(pair.rank, "tab:red"), s=70)
        right.scatter(1, row, color=colours.get(place, "tab:orange" if place == 2 else "tab:red"), s=70)
        right.scatter(2, row, color="tab:green" if pair.exact else "lightgray", s=70)
    labels = [f"{pair.spoken} for {pair.expected}" for pair in reversed(pairs)]
    right.set_yticks(range(len(pairs)), labels)
    right.set_xticks(range(3), ["changed one\nscored lowest", "spoken one\nheard first", "read\nexactly"])
    right.set(xlim=(-0.5, 2.5), title="20 minimal pairs")
    right.set_xlabel("green: first, olive: second, orange: third, red: not", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
