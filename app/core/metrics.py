"""What Prometheus reads: counted where it happens, or asked for at the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.core.errors import AnalysisTimeout, ServiceBusy
from app.core.inference_executor import InferenceExecutor
from app.core.memory_cleaner import LEVELS
from app.core.memory_limit import MemoryLimitReader
from app.core.memory_monitor import MemoryMonitor
from app.core.memory_utils import MB, rss_mb
from app.core.results import AnalysisResult
from app.core.temp_audio_cache import TempAudioCache

STAGES = ("decode", "acoustic", "scoring", "tts", "total")
_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(
        self,
        executor: InferenceExecutor,
        monitor: MemoryMonitor,
        model_loads: Callable[[], Mapping[str, int]],
        audio_cache: TempAudioCache | None = None,
    ) -> None:
        self._registry = registry = CollectorRegistry()
        self._rejected = Counter("elocute_rejected", "Requests turned away, by reason.", ["reason"], registry=registry)
        self._answers = Counter(
            "elocute_answers",
            "Answers of /analyze and /synthesize by status, less those refused before they are reached.",
            ["path", "status"],
            registry=registry,
        )
        self._stages = Histogram(
            "elocute_stage_seconds", "Time of each stage.", ["stage"], buckets=_BUCKETS, registry=registry
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._speech = Counter(
            "elocute_speech_seconds", "Seconds of speech that the voice has made.", registry=registry
        )
        registry.register(_State(executor, monitor, model_loads))
        if audio_cache is not None:
            registry.register(_Cache(audio_cache))

    def count(self, path: str, status: int, error: Exception | None = None) -> None:
        """Count an answer.

        Args:
            path: that was asked.
            status: of the answer.
            error: that it tells of; one that may pass by itself is counted as a rejection, too.
        """
        self._answers.labels(path, status).inc()
        if isinstance(error, ServiceBusy | AnalysisTimeout):
            self._rejected.labels(error.name).inc()

    def observe(self, result: AnalysisResult) -> None:
        """Count the stages of one analysis."""
        for stage in STAGES:
            milliseconds = getattr(result.timings_ms, stage)
            if milliseconds or stage != "tts":  # which most analyses do without
                self._stages.labels(stage).observe(milliseconds / 1000)
        if result.reference_audio is not None:
            self._speech.inc(result.reference_audio.seconds)

    def observe_speech(self, seconds: float, speech_seconds: float) -> None:
        """Count one clip.

        Args:
            seconds: that making it took.
            speech_seconds: its length.
        """
        self._stages.labels("tts").observe(seconds)
        self._speech.inc(speech_seconds)

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)


class _State(Collector):
    """Reads everything that has its own counters, when it is scraped."""

    def __init__(
        self, executor: InferenceExecutor, monitor: MemoryMonitor, model_loads: Callable[[], Mapping[str, int]]
    ) -> None:
        self._executor, self._monitor, self._model_loads = executor, monitor, model_loads
        self._limit = MemoryLimitReader()

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: the registry would collect just to learn the names."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families of now."""
        yield from self._memory()
        yield from self._cleanups()
        running = self._executor.running
        waiting = max(0, self._executor.taken - running)  # loading the models runs without a place
        yield _gauge("elocute_requests_in_flight", "Analyses that run.", running)
        yield _gauge("elocute_requests_queued", "Requests being read or waiting.", waiting)
        loads = CounterMetricFamily("elocute_model_loads", "Times that a model was loaded.", labels=["model"])
        for model, times in self._model_loads().items():
            loads.add_metric([model], times)
        yield loads

    def _memory(self) -> Iterator[Metric]:
        limit, thresholds = self._limit.read(), self._monitor.thresholds
        yield _gauge("elocute_memory_rss_bytes", "Resident set size of the process.", rss_mb() * MB)
        yield _gauge("elocute_memory_limit_bytes", "The effective limit: cgroup or machine.", limit.total_bytes)
        yield _gauge("elocute_memory_available_bytes", "What is left of the limit.", limit.available_bytes)
        marks = GaugeMetricFamily("elocute_memory_threshold_bytes", "Where a level begins.", labels=["level"])
        marks.add_metric(["warning"], thresholds.warning_mb * MB)
        marks.add_metric(["critical"], thresholds.critical_mb * MB)
        yield marks
        level = GaugeMetricFamily("elocute_memory_status", "1 for the status of now.", labels=["status"])
        for name in LEVELS:
            level.add_metric([name], float(name == self._monitor.level))
        yield level

    def _cleanups(self) -> Iterator[Metric]:
        counters = self._monitor.snapshot()
        cleanups = CounterMetricFamily("elocute_memory_cleanups", "Cleanups, by kind.", labels=["kind"])
        for kind, times in counters.cleanups.items():
            cleanups.add_metric([kind], times)
        yield cleanups
        yield CounterMetricFamily(
            "elocute_memory_objects_collected", "Objects that cleanups found.", value=counters.objects_collected
        )
        yield CounterMetricFamily(
            "elocute_memory_freed_bytes", "RSS that cleanups gave back.", value=counters.freed_mb * MB
        )
        rises = CounterMetricFamily("elocute_memory_rises", "Times a status was reached.", labels=["status"])
        rises.add_metric(["warning"], counters.warnings)
        rises.add_metric(["critical"], counters.criticals)
        yield rises


class _Cache(Collector):
    """Reads the audio cache when it is scraped."""

    def __init__(self, cache: TempAudioCache) -> None:
        self._cache = cache

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand, as above."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families of now."""
        stats = self._cache.stats
        yield _gauge("elocute_audio_cache_files", "Uploads and clips in the cache.", stats.files)
        yield _gauge("elocute_audio_cache_bytes", "Their size.", stats.bytes)
        for name, text, value in (
            ("written", "Uploads and clips put into the cache.", stats.written),
            ("expired", "Those that went for their age.", stats.expired),
            ("evicted", "Those that went to make room.", stats.evicted),
            ("failures", "Those that could not be written.", stats.failures),
        ):
            yield CounterMetricFamily(f"elocute_audio_cache_{name}", text, value=value)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
