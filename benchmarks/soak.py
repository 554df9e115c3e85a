"""Soak the real service over HTTP in a memory cgroup of its own, and say whether its memory stays where it is.

    python -m benchmarks.soak [--requests 3000 | --minutes M] [--concurrency 8] [--limit-mib 4096]
    python -m benchmarks.soak --leaky      the negative control: has to fail the same bounds

Good and bad requests of 0.3 to 30 s in every format, some that want speech, from clients that stay and that leave. The
audio cache is on and small, and the voice is dropped whenever nobody uses it. Exit status 0 where every bound holds, 1
where one does not, 2 for a wrong command line. The cgroup (v1 or v2) needs root; without it the run goes on without a
limit and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from benchmarks.load_client import Load
from benchmarks.memory_cgroup import MEGABYTE, CgroupUnavailable, MemoryCgroup, make_cgroup
from benchmarks.requests_mix import BAD_SHARE, Mix, make_mix
from benchmarks.service_process import NEGATIVE_CONTROL, SERVICE, HealthProbe, ServiceFailed, ServiceProcess
from benchmarks.soak_plot import draw
from benchmarks.soak_report import Measured, make_report, table
from benchmarks.soak_statistics import Bounds, Sample
from benchmarks.speech_watch import SpeechWatch

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130

_SAMPLE_SECONDS = 0.5
_SAMPLE_REQUESTS = 25  # fewer in a short run
_SAMPLES_OF_REQUESTS = 40
_REST_REQUESTS = 50  # fewer in a short run
_RESTS = 20
_REST_SECONDS = 0.2  # for the cleanup after the last request
_REST_WAIT_SECONDS = 30.0
_HOPELESS_REQUESTS = 40  # the negative control is stopped after these, once it is far beyond the bound
_HOPELESS_PEAK = 2.0
_DYING_SECONDS = 5.0  # from the kernel's decision to the end of a process


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime would report to its makers; the service inherits this
    try:
        measured = run(options)
    except ServiceFailed as error:
        _say(f"FAIL: {error}")
        return EXIT_FAILURE
    except KeyboardInterrupt:
        _say("Interrupted; the service is stopped and its cgroup removed.")
        return EXIT_INTERRUPTED
    shown = {name: value for name, value in vars(options).items() if name not in ("compare", "report", "plot")}
    report = make_report(measured, Bounds(options.slope_bound, options.peak_bound, options.served_bound), shown)
    print(table(report))
    if options.report:
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        others = [json.loads(path.read_text(encoding="utf-8")) for path in options.compare]
        draw([report, *others], options.plot)
    return 0 if report["passed"] else EXIT_FAILURE


def run(options: argparse.Namespace) -> Measured:
    """Start the service, load it, and measure.

    Raises:
        ServiceFailed: it does not come up.
    """
    _say(f"Making {options.pool} recordings ...")
    mix = make_mix(options.pool, options.max_seconds, options.seed, options.bad_share, speech=not options.leaky)
    with ExitStack() as stack:
        cgroup = None if options.no_cgroup else _cgroup(options.limit_mib)
        if cgroup is not None:
            stack.enter_context(cgroup)
        settings = dict(options.env)
        speech = None if options.leaky else stack.enter_context(SpeechWatch(settings))  # the negative control is mute
        _say("Starting the service ...")
        module = NEGATIVE_CONTROL if options.leaky else SERVICE
        service = stack.enter_context(ServiceProcess(module, cgroup, speech.settings if speech else settings))
        service.wait_until_ready(options.start_seconds)
        try:
            measured = _soak(service, cgroup, mix, speech, options)
        except BaseException:
            service.kill()
            raise
        if measured.kills or measured.exit_status is not None:
            _say(service.log_tail())
        if speech is not None:
            service.stop()
            speech.ended()
        return measured


def _soak(
    service: ServiceProcess,
    cgroup: MemoryCgroup | None,
    mix: Mix,
    speech: SpeechWatch | None,
    options: argparse.Namespace,
) -> Measured:
    load = Load(service.port, mix, options.concurrency, None if options.minutes else options.requests)
    health = HealthProbe(service.port)
    measured = Measured([], load.outcomes, health.seconds, speech)
    if cgroup is not None:
        measured.cgroup = f"cgroup v{cgroup.version}, {options.limit_mib:g} MiB"
    service_cpu = service.cpu_seconds() or 0.0
    client_cpu = time.process_time()
    with health, load:
        try:
            _watch(load, measured, service, cgroup, options)
        except BaseException:
            service.kill()  # clients would wait on for their answers
            raise
        total = service.cpu_seconds()
        measured.service_cpu = None if total is None else total - service_cpu
        measured.client_cpu = time.process_time() - client_cpu
        measured.health_failures = health.failures
        if speech is not None:
            speech.read_counters(service.port)
        load.stop()
        if not load.over:
            service.kill()
    return measured


def _watch(
    load: Load,
    measured: Measured,
    service: ServiceProcess,
    cgroup: MemoryCgroup | None,
    options: argparse.Namespace,
) -> None:
    """Sample every half second and after every 25 requests, until all are over or nothing is left to be seen.

    Every 50 requests the clients wait until nothing is under way: what is left then is what the service holds on to,
    without the recordings that come and go. So they do at the end.
    """
    started = time.monotonic()
    next_rest = between_rests = _REST_REQUESTS
    if not options.minutes:
        next_rest = between_rests = max(1, min(_REST_REQUESTS, options.requests // _RESTS))
    seconds = 60 * (options.minutes or 0)
    step = _SAMPLE_REQUESTS if seconds else max(1, min(_SAMPLE_REQUESTS, options.requests // _SAMPLES_OF_REQUESTS))
    with tqdm(total=seconds or options.requests, unit="s" if seconds else "requests") as bar:
        while not load.over:
            load.wait((load.outcomes.done // step + 1) * step, _SAMPLE_SECONDS)
            measured.duration = time.monotonic() - started
            _take_sample(measured, service, cgroup)
            if load.outcomes.done >= next_rest:
                next_rest = load.outcomes.done + between_rests
                _rest(load, measured, service, cgroup)
            if measured.samples:
                bar.set_postfix_str(f"RSS {measured.samples[-1].rss:.0f} MB", refresh=False)
            bar.update(min(bar.total, round(measured.duration) if seconds else load.outcomes.done) - bar.n)
            if seconds and measured.duration > seconds:
                load.stop()
            if measured.kills or measured.exit_status is not None:
                measured.exit_status = service.wait(_DYING_SECONDS)
                return
            peak = measured.peak_rss / options.peak_bound
            hopeless = options.leaky and not options.until_killed
            if hopeless and load.outcomes.done >= _HOPELESS_REQUESTS and peak > _HOPELESS_PEAK:
                measured.note = (
                    f"stopped after {load.outcomes.done} requests, at {peak:.1f} times the bound of the peak"
                )
                return
    _rest(load, measured, service, cgroup)


def _rest(load: Load, measured: Measured, service: ServiceProcess, cgroup: MemoryCgroup | None) -> None:
    with load.rest(_REST_WAIT_SECONDS) as idle:
        if measured.speech is not None:
            measured.speech.greet(service.port)
        time.sleep(_REST_SECONDS)
        _take_sample(measured, service, cgroup, at_rest=idle)
        if measured.speech is not None:
            measured.speech.look()


def _take_sample(
    measured: Measured, service: ServiceProcess, cgroup: MemoryCgroup | None, *, at_rest: bool = False
) -> None:
    measured.exit_status = service.exit_status
    if cgroup is not None:
        measured.kills, measured.times_at_limit = cgroup.kills(), cgroup.times_at_limit()
    memory = service.memory()
    if memory is None:
        return
    used = cgroup.usage() if cgroup is not None else None
    measured.peak_rss = max(measured.peak_rss, memory[0], service.peak_rss() or 0.0)
    measured.samples.append(
        Sample(
            measured.duration,
            measured.outcomes.done,
            *memory,
            None if used is None else used.total / MEGABYTE,
            None if used is None else used.working_set / MEGABYTE,
            at_rest,
        )
    )


def _cgroup(limit_mib: float) -> MemoryCgroup | None:
    try:
        return make_cgroup(int(limit_mib * MEGABYTE))
    except CgroupUnavailable as error:
        _say(f"No memory cgroup, so there is no limit: {error}. Going on without one.")
        return None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--requests", type=_positive(int), default=3000)
    length.add_argument("--minutes", type=_positive(float), help="send for so long instead")
    parser.add_argument("--concurrency", type=_positive(int), default=8, help="clients")
    parser.add_argument("--limit-mib", type=_positive(float), default=4096, help="of the cgroup")
    parser.add_argument("--no-cgroup", action="store_true", help="no limit, also where there could be one")
    parser.add_argument("--max-seconds", type=_positive(float), default=30, help="the longest recording")
    parser.add_argument("--pool", type=_positive(int), default=200, help="different good requests")
    parser.add_argument("--bad-share", type=_share, default=BAD_SHARE, help="how many requests are bad ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--env", type=_assignment, action="append", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--leaky", action="store_true", help="serve as the forerunner did: has to fail")
    parser.add_argument("--until-killed", action="store_true", help="with --leaky: go on once it has clearly failed")
    parser.add_argument("--start-seconds", type=_positive(float), default=120, help="to wait for the service")
    parser.add_argument("--slope-bound", type=float, default=1.0, help="MB of RSS per 1,000 requests")
    parser.add_argument("--peak-bound", type=_positive(float), default=900, help="MB of RSS")
    parser.add_argument("--served-bound", type=_share, default=0.5, help="smallest share of answers other than 503")
    parser.add_argument("--report", type=Path, metavar="FILE.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument(
        "--compare", type=Path, action="append", default=[], metavar="FILE.json", help="drawn beside it"
    )
    return parser.parse_args(arguments)


def _positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError("must be above 0")
        return value

    return positive


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return value


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise argparse.ArgumentTypeError("must be NAME=VALUE")
    return name, value


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
