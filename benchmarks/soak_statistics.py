"""What a soak's samples say: slope, peak, percentiles, and which bounds they break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SAMPLE_FIELDS = ("seconds", "requests", "rss", "pss", "uss", "cgroup", "working_set", "at_rest")
WARM_UP_REQUESTS = 200

_WARM_UP_SHARE = 0.07  # of a short run
_OUTLIERS = 0.05
_FEWEST_SAMPLES = 8
_STRETCHES = 15
_FIRST_USES_MB = 5.0
_LONG_RUN = 1000  # answers, from which on the slope at rest is certain enough


@dataclass(frozen=True, slots=True)
class Sample:
    """The service's memory at one moment, in MB.

    Attributes:
        seconds: since the load began.
        requests: that are over by then.
        rss: resident set size.
        pss: the same with shared pages divided among those that share them.
        uss: pages of its own.
        cgroup: what counts against the cgroup's limit; None without one.
        working_set: the same less file cache that can be given up.
        at_rest: no request was under way.
    """

    seconds: float
    requests: int
    rss: float
    pss: float
    uss: float
    cgroup: float | None = None
    working_set: float | None = None
    at_rest: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line.

    Attributes:
        slope: per unit of x.
        intercept: at x = 0.
        error: standard error of the slope.
    """

    slope: float
    intercept: float
    error: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a run may not exceed.

    Attributes:
        slope: MB of RSS per 1,000 requests.
        peak: MB of RSS.
        served: smallest share of the requests with an answer that may not be a 503, so that a service that
            refuses everything does not pass.
    """

    slope: float = 1.0
    peak: float = 900.0
    served: float = 0.5


@dataclass(frozen=True, slots=True)
class Ending:
    """How the run went, as far as the bounds ask.

    Attributes:
        answered: requests that got an answer.
        shed: answers of 503.
        server_errors: 5xx other than 503, and requests without an answer.
        wrong: answers that do not fit their request; not judged for the negative control, which has no limits.
        kills: by the kernel, for want of memory.
        exit_status: of a service that ended by itself, else None.
        health_failures: questions to /health without an answer of 200.
    """

    answered: int
    shed: int
    server_errors: int
    wrong: int
    kills: int
    exit_status: int | None
    health_failures: int = 0


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    """Least squares, once more without the 5 % of points that are farthest from the first line.

    Returns:
        None where there are fewer than 8 points or they all have the same x.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(xs) < _FEWEST_SAMPLES or np.ptp(xs) == 0:
        return None
    first = _least_squares(xs, ys)
    residuals = np.abs(ys - first.intercept - first.slope * xs)
    kept = np.argsort(residuals, kind="stable")[: len(xs) - int(_OUTLIERS * len(xs))]
    if np.ptp(xs[kept]) == 0:
        return first
    return _least_squares(xs[kept], ys[kept])


def growth(samples: Sequence[Sample], field: str = "rss", *, at_rest: bool = False) -> Line | None:
    """MB per request over the second half of a run, under load or at rest; None where that has too few samples."""
    if not samples:
        return None
    middle = samples[-1].requests / 2
    half = [sample for sample in samples if sample.requests >= middle and sample.at_rest == at_rest]
    x, y = [float(sample.requests) for sample in half], [float(getattr(sample, field)) for sample in half]
    line = fit_line(x, y)
    if line is None:
        return None
    # Neighbours in time are alike, so that each counts for less than one: means of stretches are nearly independent.
    stretches = [part for part in np.array_split(np.arange(len(x)), _STRETCHES) if len(part)]
    means = fit_line(
        [float(np.mean(np.take(x, s))) for s in stretches], [float(np.mean(np.take(y, s))) for s in stretches]
    )
    return line if means is None else replace(line, error=max(line.error, means.error))


def after_warm_up(samples: Sequence[Sample]) -> Sample | None:
    """The first sample after 200 requests, or after 7 % of a run that is shorter; None without samples."""
    if not samples:
        return None
    warm = min(WARM_UP_REQUESTS, _WARM_UP_SHARE * samples[-1].requests)
    return next(sample for sample in samples if sample.requests >= warm)


def percentiles(values: Sequence[float], at: Sequence[float] = (50, 95, 99)) -> list[float] | None:
    """Percentiles of some values; None where there are none."""
    return [float(value) for value in np.percentile(values, at)] if values else None


def judge(bounds: Bounds, at_rest: Line | None, under_load: Line | None, peak: float, ending: Ending) -> list[str]:
    """A sentence for every bound that is broken; none for a run that passes.

    At rest the slope itself has to keep its bound, in a run of 1,000 answers and more. In a shorter one what is loaded
    at its first use falls into the second half, and is allowed for, with twice the slope's standard error. So is that
    error under load, where recordings come and go.
    """
    failures = _broken_service(bounds, ending)
    if at_rest is None and under_load is None:
        failures.append("there are too few samples for a slope: send more requests")
    allowed = 0.0
    if at_rest is not None and 0 < ending.answered < _LONG_RUN:
        allowed = 2 * at_rest.error + _FIRST_USES_MB / (ending.answered / 2)
    if at_rest is not None and 1000 * (at_rest.slope - allowed) > bounds.slope:
        failures.append(
            f"RSS at rest grows by {1000 * at_rest.slope:.2f} MB per 1,000 requests, more than {bounds.slope:g}"
        )
    if under_load is not None and 1000 * (under_load.slope - 2 * under_load.error) > bounds.slope:
        slope, error = 1000 * under_load.slope, 1000 * under_load.error
        failures.append(
            f"RSS under load grows by {slope:.2f} ± {error:.2f} MB per 1,000 requests, more than {bounds.slope:g}"
        )
    if peak > bounds.peak:
        failures.append(f"the peak of RSS is {peak:.0f} MB, more than {bounds.peak:g}")
    return failures


def _broken_service(bounds: Bounds, ending: Ending) -> list[str]:
    served = 1 - ending.shed / ending.answered if ending.answered else 0.0
    broken = {
        f"the kernel killed processes for want of memory: {ending.kills}": ending.kills,
        f"it ended by itself with status {ending.exit_status}": ending.exit_status is not None,
        f"requests that got a 5xx other than 503, or no answer: {ending.server_errors}": ending.server_errors,
        f"questions to /health without an answer: {ending.health_failures}": ending.health_failures,
        f"answers that are not what the request should get: {ending.wrong}": ending.wrong,
        f"only {served:.0%} of {ending.answered} answers were not 503, less than {bounds.served:.0%}": (
            not ending.answered or served < bounds.served
        ),
    }
    return [sentence for sentence, is_so in broken.items() if is_so]


def _least_squares(x: np.ndarray, y: np.ndarray) -> Line:
    centred = x - x.mean()
    spread = float(np.dot(centred, centred))
    slope = float(np.dot(centred, y - y.mean())) / spread
    intercept = float(y.mean() - slope * x.mean())
    residuals = y - intercept - slope * x
    error = float(np.sqrt(np.dot(residuals, residuals) / max(1, len(x) - 2) / spread))
    return Line(slope, intercept, error)
