"""Draws what :mod:`benchmarks.rivals` found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.rivals import Times

_COLORS = {"base": "tab:green", "fast": "tab:olive"}


def draw(times: Sequence[Times], path: Path) -> None:
    """Bars of the median times with their quartiles, a panel for each set of clips; the bar of 15 % as a line."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    from benchmarks.rivals import MOST, WHISPER

    figure, panels = plt.subplots(len(times), 1, figsize=(9, 2.9 * len(times)), sharex=True, squeeze=False)
    for panel, each in zip(panels[:, 0], times, strict=True):
        names = list(each.seconds)[::-1]
        for row, name in enumerate(names):
            low, middle, high = (1000 * seconds for seconds in each.quartiles(name))
            panel.barh(row, middle, color=_COLORS.get(name, "tab:gray"))
            panel.plot((low, high), (row, row), color="black", linewidth=1.5)
            failed = f" ({each.failures(name)} failed)" if each.failures(name) else ""
            panel.annotate(f"{middle:.0f} ms{failed}", (high, row), (5, -3.5), textcoords="offset points")
        most = 1000 * MOST[WHISPER] * each.quartiles(WHISPER)[1]
        panel.axvline(most, color="tab:red", linestyle=":", label=f"{MOST[WHISPER]:.0%} of Whisper's time")
        panel.set_yticks(range(len(names)), names)
        panel.set_title(f"{len(each.lengths)} clips of about 3 s from {each.name}", fontsize="medium")
        panel.margins(x=0.15)
        panel.legend(frameon=False)
    panels[-1, 0].set_xlabel("time for a clip, ms: median and quartiles")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
