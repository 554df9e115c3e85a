"""The report of a soak: as JSON for machines, as a table for people."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from benchmarks.load_client import HUNG_UP, NO_ANSWER, Outcomes
from benchmarks.memory_cgroup import MEGABYTE
from benchmarks.soak_statistics import (
    SAMPLE_FIELDS,
    Bounds,
    Ending,
    Line,
    Sample,
    after_warm_up,
    growth,
    judge,
    percentiles,
)
from benchmarks.speech_watch import SpeechWatch


@dataclass
class Measured:
    """What a run leaves behind.

    Attributes:
        samples: of memory, in order.
        outcomes: of the requests.
        health_seconds: how long each answer of /health took.
        speech: what the voice and the audio cache did, None for the negative control, which has neither.
        health_failures: of the questions that got none.
        duration: seconds from the first request to the last.
        peak_rss: the kernel's high-water mark in MB, from the start of the process.
        cgroup: what the limit is enforced by, or "no cgroup".
        kills: by the kernel, for want of memory.
        times_at_limit: how often the cgroup ran into its limit.
        exit_status: of a service that ended by itself.
        service_cpu: processor seconds of the service, None where it ended.
        client_cpu: the same of the clients, with sampling and all.
        note: why the run was shorter than asked for.
    """

    samples: list[Sample]
    outcomes: Outcomes
    health_seconds: list[float]
    speech: SpeechWatch | None = None
    health_failures: int = 0
    duration: float = 0.0
    peak_rss: float = 0.0
    cgroup: str = "no cgroup"
    kills: int = 0
    times_at_limit: int = 0
    exit_status: int | None = None
    service_cpu: float | None = None
    client_cpu: float = 0.0
    note: str = ""


def make_report(measured: Measured, bounds: Bounds, options: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, and whether it passes; plain JSON.

    Args:
        measured: by the run.
        bounds: that it is judged by.
        options: of the run, to be repeated; ``leaky`` among them.
    """
    outcomes = measured.outcomes
    statuses = {name: outcomes.statuses[code] for code, name in ((HUNG_UP, "hung up"), (NO_ANSWER, "no answer"))}
    answered = outcomes.done - sum(statuses.values())
    under_load, at_rest = growth(measured.samples), growth(measured.samples, at_rest=True)
    warm = after_warm_up(measured.samples)
    last = measured.samples[-1] if measured.samples else None
    ending = Ending(
        answered=answered,
        shed=outcomes.statuses[503],
        server_errors=outcomes.server_errors,
        wrong=0 if options["leaky"] else outcomes.wrong,
        kills=measured.kills,
        exit_status=measured.exit_status,
        health_failures=measured.health_failures,
    )
    failures = judge(bounds, at_rest, under_load, measured.peak_rss, ending)
    if measured.speech is not None:
        failures += measured.speech.failures()
    return {
        "passed": not failures,
        "failures": failures,
        "note": measured.note,
        "options": options,
        "bounds": {"slope_mb_per_1000": bounds.slope, "peak_mb": bounds.peak, "served": bounds.served},
        "requests": outcomes.done,
        "duration_seconds": measured.duration,
        "requests_per_second": outcomes.done / measured.duration if measured.duration else None,
        "statuses": {str(code): count for code, count in sorted(outcomes.statuses.items()) if code > 0}
        | {name: count for name, count in statuses.items() if count},
        "kinds": dict(sorted(outcomes.kinds.items())),
        "complaints": outcomes.notes,
        "latency_seconds": _named(percentiles(outcomes.seconds)),
        "health_seconds": _named(percentiles(measured.health_seconds, (50, 99, 100)), ("p50", "p99", "max")),
        "health_failures": measured.health_failures,
        "memory_mb": {
            "after_warm_up": _memory(warm),
            "at_the_end": _memory(last),
            "peak_rss": measured.peak_rss,
            "peak_rss_after_warm_up": max(
                (s.rss for s in measured.samples if warm and s.requests >= warm.requests), default=None
            ),
            "peak_working_set": max((s.working_set for s in measured.samples if s.working_set), default=None),
        },
        "slope_mb_per_1000": {
            "rss": _slope(under_load),
            "rss_at_rest": _slope(at_rest),
            "pss_at_rest": _slope(growth(measured.samples, "pss", at_rest=True)),
        },
        "speech": None if measured.speech is None else measured.speech.report(),
        "cgroup": measured.cgroup,
        "kills": measured.kills,
        "times_at_limit": measured.times_at_limit,
        "exit_status": measured.exit_status,
        "cpu_seconds": {"service": measured.service_cpu, "client": measured.client_cpu},
        "sample_fields": list(SAMPLE_FIELDS),
        "samples": [[None if v is None else round(v, 2) for v in astuple(sample)] for sample in measured.samples],
    }


def table(report: dict[str, Any]) -> str:
    """The report for people: a line for each figure, then the verdict."""
    memory, slope = report["memory_mb"], report["slope_mb_per_1000"]
    warm, last = memory["after_warm_up"] or {}, memory["at_the_end"] or {}
    rate = report["requests_per_second"]
    rows = [
        ("requests", f"{report['requests']} in {report['duration_seconds']:.0f} s, {_number(rate, 2)} per second"),
        ("answers", ", ".join(f"{count} x {status}" for status, count in report["statuses"].items())),
        ("latency of a 200, s", _spread(report["latency_seconds"], 2)),
        ("/health, ms", _spread(report["health_seconds"], 1, 1000)),
        ("RSS, PSS after warm-up, MB", f"{_number(warm.get('rss'))}, {_number(warm.get('pss'))}"),
        ("RSS, PSS at the end, MB", f"{_number(last.get('rss'))}, {_number(last.get('pss'))}"),
        ("peak RSS, MB", f"{_number(memory['peak_rss'])} (after warm-up {_number(memory['peak_rss_after_warm_up'])})"),
        ("peak working set of the cgroup, MB", _number(memory["peak_working_set"])),
        ("slope at rest, MB per 1,000 requests", _with_error(slope["rss_at_rest"])),
        ("the same of PSS", _with_error(slope["pss_at_rest"])),
        ("slope under load, MB per 1,000 requests", _with_error(slope["rss"])),
        *_speech_rows(report.get("speech")),
        ("memory limit", report["cgroup"]),
        ("kills, times at the limit", f"{report['kills']}, {report['times_at_limit']}"),
        (
            "CPU seconds: service, client",
            f"{_number(report['cpu_seconds']['service'], 1)}, {_number(report['cpu_seconds']['client'], 1)}",
        ),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    lines += [f"note: {report['note']}"] * bool(report["note"])
    lines += [f"  {complaint}" for complaint in report["complaints"]]
    lines += [f"FAIL: {failure}" for failure in report["failures"]] or ["PASS"]
    return "\n".join(lines)


def _speech_rows(speech: dict[str, Any] | None) -> list[tuple[str, str]]:
    if speech is None:
        return []
    clips = speech["clips"]
    most, bound = clips["most_bytes"] / MEGABYTE, clips["max_bytes"] / MEGABYTE
    return [
        ("voice", f"loaded {_number(speech['voice_loads'])} times, spoke {_number(speech['speech_seconds'])} s"),
        (
            "audio cache",
            f"{_number(clips['written'])} files written, {_number(clips['evicted'])} evicted, "
            f"{_number(clips['failures'])} failed",
        ),
        (
            "its folder, at most",
            f"{most:.2f} of {bound:g} MB, {clips['most_files']} of {clips['max_files']} files "
            f"in {clips['looks']} looks; half written and left: {_number(clips['drafts_left'])}",
        ),
    ]


def _named(values: list[float] | None, names: tuple[str, ...] = ("p50", "p95", "p99")) -> dict[str, float] | None:
    return None if values is None else dict(zip(names, values, strict=True))


def _memory(sample: Sample | None) -> dict[str, float | int | None] | None:
    return None if sample is None else {name: getattr(sample, name) for name in SAMPLE_FIELDS}


def _slope(line: Line | None) -> dict[str, float] | None:
    if line is None:
        return None
    return {"slope": 1000 * line.slope, "error": 1000 * line.error, "intercept": line.intercept}


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _spread(values: dict[str, float] | None, digits: int, factor: float = 1) -> str:
    return ", ".join(f"{name} {factor * value:.{digits}f}" for name, value in (values or {}).items()) or "-"


def _with_error(line: dict[str, float] | None) -> str:
    return "-" if line is None else f"{line['slope']:.2f} ± {line['error']:.2f}"
