"""Draws the memory of one or more soaks side by side.

python -m benchmarks.soak_plot benchmarks/soak.png FILE.json [FILE.json ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "0.45"


def draw(reports: list[dict[str, Any]], path: Path) -> None:
    """Draw RSS and PSS over the requests, the fitted line and the bounds; all panels share one scale of memory.

    Args:
        reports: as :func:`benchmarks.soak_report.make_report` makes them, one for each panel.
        path: of the picture; its ending says the format.
    """
    from matplotlib.figure import Figure  # without pyplot there is no window and nothing global

    figure = Figure(figsize=(6.4 * len(reports), 4.4), layout="constrained")
    panels = figure.subplots(1, len(reports), sharey=True, squeeze=False)[0]
    for panel, report in zip(panels, reports, strict=True):
        _panel(panel, report)
    panels[0].set_ylabel("MB")
    panels[0].set_ylim(bottom=0)  # once all are drawn: it ends the scaling
    figure.savefig(path, dpi=110)


def _panel(panel: Axes, report: dict[str, Any]) -> None:
    columns = dict(zip(report["sample_fields"], zip(*report["samples"], strict=True), strict=False))
    done = columns.get("requests", ())
    panel.plot(done, columns.get("rss", ()), color="tab:blue", linewidth=1.2, label="RSS")
    panel.plot(done, columns.get("pss", ()), color="tab:cyan", linewidth=0.9, label="PSS")
    rests = [
        (x, y) for x, y, rest in zip(done, columns.get("rss", ()), columns.get("at_rest", ()), strict=True) if rest
    ]
    panel.plot(*zip(*rests, strict=True) if rests else ((), ()), "o", markersize=3, color="black", label="RSS at rest")
    line = report["slope_mb_per_1000"]["rss_at_rest"]
    if line and done:
        ends = [done[-1] / 2, done[-1]]
        panel.plot(
            ends,
            [line["intercept"] + line["slope"] / 1000 * x for x in ends],
            color="tab:red",
            linestyle="--",
            label=f"fit at rest: {line['slope']:+.2f} MB per 1,000 requests",
        )
    peak = report["bounds"]["peak_mb"]
    panel.axhline(peak, color=_GREY, linestyle=":", label=f"bound of the peak: {peak:g} MB")
    options = report["options"]
    limit = options["limit_mib"]
    if report["cgroup"] != "no cgroup" and max(columns.get("rss", (0,))) > limit / 2:
        panel.axhline(limit, color="black", linewidth=0.8, label=f"limit of the cgroup: {limit:g} MB")
    name = "negative control (models loaded per request)" if options["leaky"] else "Elocute"
    end = "passed" if report["passed"] else "killed" if report["kills"] else "failed"
    panel.set_title(f"{name}: {report['requests']} requests, {options['concurrency']} at once, {end}", fontsize=10)
    panel.set_xlabel("requests")
    panel.legend(fontsize=8, loc="best")
    panel.grid(alpha=0.25)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("reports", type=Path, nargs="+", help="written by benchmarks.soak --report")
    args = parser.parse_args()
    draw([json.loads(path.read_text(encoding="utf-8")) for path in args.reports], args.picture)


if __name__ == "__main__":
    main()
