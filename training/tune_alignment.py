"""Choose what leaving the text costs in the alignment, on recordings that differ from their text.

    python -m training.tune_alignment --data DATA --model FOLDER [--fold 0]

The recordings are made of those of the fold's speakers, which the model has not heard, see
``training.made_recordings``: a word skipped, said twice, the end left out, somebody talking. For each setting: F1 of
the omissions and of the insertions found, and the words of untouched recordings that are taken for omissions. The
bound below which the scoring head finds a word absent (``present_above``), is tried with them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from app.core.acoustic_engine import FramePosteriors
from app.core.alignment import Penalties
from app.core.head_scorer import HeadScorer
from app.core.onnx_engine import OnnxEngine
from app.core.pitch import PitchContour, PitchTracker
from app.core.rule_scorer import RuleScorer
from app.core.score_calibration import load_calibration
from app.core.score_rules import load_rules
from benchmarks.robustness import Report, originals_of
from training.listening import find_text
from training.made_recordings import SAMPLE_RATE, Made, make_all

GRID = {
    "skip_word": (6.0, 8.0),
    "skip_phoneme": (3.0, 5.0),
    "enter_filler": (1.0, 2.0, 3.0),
    "filler_frame": (0.3, 0.5),
}
PRESENT_ABOVE = (0.1, 0.3, 0.5)


@dataclass(frozen=True)
class Case:
    """A made recording as a model hears it."""

    made: Made
    seconds: float
    posteriors: FramePosteriors
    pitch: PitchContour


def hear_all(made: Sequence[Made], engine: OnnxEngine) -> list[Case]:
    """Run the model over all of them; the samples are let go."""
    tracker = PitchTracker()
    return [
        Case(
            replace(m, samples=m.samples[:0]),
            len(m.samples) / SAMPLE_RATE,
            engine.posteriors(m.samples),
            tracker.track(m.samples),
        )
        for m in tqdm(made, "hearing", mininterval=5)
    ]


def try_penalties(cases: Sequence[Case], scorer: HeadScorer, penalties: Penalties) -> Report:
    """Everything found with these penalties."""
    report, first = Report(), []
    for case in cases:
        spoken = find_text(case.posteriors, case.seconds, case.made.words, case.pitch, penalties)
        words, scores = scorer.score(spoken)
        if case.made.kind == "as it was":
            first = [word for word in words if word.error_type != "insertion"]
        report.add(case.made, words, scores, first)
    return report


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.jsonl and audio/")
    parser.add_argument("--model", type=Path, required=True, help="a model that has not heard the fold's speakers")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    engine, rules = OnnxEngine(args.model), RuleScorer(load_rules())
    originals = originals_of(args.data, args.fold, args.recordings, engine, args.seed)
    cases = hear_all([*make_all(originals, args.seed)], engine)
    own = load_calibration(args.model)
    scorers = {
        bound: HeadScorer(args.model, rules, calibration=replace(own, present_above=bound)) for bound in PRESENT_ABOVE
    }
    settings = [Penalties(), *(Penalties(*values) for values in itertools.product(*GRID.values()))]
    results = []
    for penalties, bound in tqdm([*itertools.product(settings, PRESENT_ABOVE)], unit="setting"):
        report = try_penalties(cases, scorers[bound], penalties)
        lost = report.by_kind["as it was"][0].wrong / sum(len(o.words) for o in originals)
        results.append((report.omissions.f1, report.insertions.f1, lost, astuple(penalties), bound))
    best = sorted(results[len(PRESENT_ABOVE) :], key=lambda r: r[0] + r[1] - 5 * r[2], reverse=True)[:10]
    print(f"{len(cases)} recordings; omission F1, insertion F1, true words lost (as it is, then the best)")
    for omission, insertion, lost, values, bound in [*results[: len(PRESENT_ABOVE)], *best]:
        shown = ", ".join(f"{name} {value:g}" for name, value in zip(GRID, values, strict=True))
        print(f"  {omission:.3f} {insertion:.3f} {lost:.4f}  {shown}, present_above {bound:g}")


if __name__ == "__main__":
    main()
