"""What lives as long as the process: the pipeline, its threads, and whether they take requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from threading import Event
from typing import Literal, Protocol

from app.core import allocator
from app.core.clip import Clip
from app.core.errors import NotReady
from app.core.housekeeper import Chore, Housekeeper
from app.core.inference_executor import InferenceExecutor, Place
from app.core.memory_budget import MemoryBudget, Promise, analysis_mb
from app.core.memory_guard import WATCH_SECONDS, MemoryGuard
from app.core.memory_monitor import Level, MemoryMonitor
from app.core.memory_usage import UsageReader
from app.core.memory_utils import configure_memory_logging, force_cleanup, freeze_heap
from app.core.metrics import Metrics
from app.core.results import AnalysisRequest, AnalysisResult, SpeechRequest
from app.core.settings import Settings
from app.core.temp_audio_cache import TempAudioCache, default_folder

State = Literal["starting", "ready", "draining", "failed"]
Status = Literal["starting", "ready", "draining", "failed", "memory_critical"]

_RETRY_AFTER_SECONDS = 5
_PATIENCE_SECONDS = 5.0  # for jobs that still run when the server has stopped serving

_UNUSED_SECONDS = 5.0  # between looks at what nobody needs any more
_PRUNE_SECONDS = 60.0  # between looks at the audio cache, and less where it is kept for minutes only

_RESERVE_SECONDS = 30.0  # of audio: what uploads leave room for, for each analysis that may run

_log = logging.getLogger(__name__)


class Handler(Protocol):
    """The pipeline, as the service needs it: blocking and safe to call from several threads."""

    @property
    def model_loads(self) -> Mapping[str, int]:
        """How often each model was loaded, by name."""

    def load(self) -> None:
        """Load the models and warm up."""

    def drop_caches(self) -> None:
        """Let go of what can be made again, as memory is short; called from any thread."""

    def release_unused(self) -> None:
        """Let go of what nobody has needed for a while; called every few seconds, from any thread."""

    def close(self) -> None:
        """Let go of everything."""

    def analyze(self, request: AnalysisRequest, cancelled: Event) -> AnalysisResult:
        """Analyse one recording; stop early once ``cancelled`` is set."""

    def synthesize(self, request: SpeechRequest, cancelled: Event) -> Clip:
        """Say something; stop early once ``cancelled`` is set."""


HandlerFactory = Callable[[Settings, MemoryBudget, TempAudioCache | None], Handler]


class Service:
    """The pipeline behind its executor, from starting to draining.

    Attributes:
        settings: of this service.
        executor: admission and threads.
        state: ``starting`` until the models are loaded, then ``ready``; ``draining`` from the first wish to stop;
            ``failed`` where the models cannot be loaded, which ``failure`` explains.
        failure: why loading failed.
        recycling: it drains because its memory stays critical, and wants to be started anew.
        on_recycle: ends the process once it has drained; set by the server, without it there is no recycling.
        monitor: of the memory.
        audio_cache: of uploads and clips, None where it is off.
        metrics: for Prometheus.
    """

    def __init__(self, settings: Settings, handler_factory: HandlerFactory, monitor: MemoryMonitor) -> None:
        """Load nothing yet; to be called within a running event loop.

        Args:
            settings: of the service.
            handler_factory: makes the pipeline; called on an inference thread.
            monitor: closed by :meth:`stop`.
        """
        self.settings = settings
        self.executor = InferenceExecutor(settings.inference_threads, settings.max_queued_requests)
        self.monitor = monitor
        self.audio_cache = _audio_cache(settings)
        self.metrics = Metrics(self.executor, monitor, lambda: self.model_loads, self.audio_cache)
        self.recycling = False
        self.on_recycle: Callable[[], None] | None = None
        self._told = False
        usage = UsageReader().read
        self._budget = MemoryBudget(
            monitor.thresholds.critical_mb,
            usage,
            self.executor.retry_after,
            reserve_mb=settings.inference_threads * analysis_mb(min(settings.max_audio_seconds, _RESERVE_SECONDS)),
            relieve=force_cleanup,
        )
        self._guard = MemoryGuard(settings, monitor, usage, self._budget.is_exhausted)
        monitor.on_pressure(self._drop_caches)
        self._housekeeper = Housekeeper(self._chores())
        self._watching: asyncio.Task[None] | None = None
        self.state: State = "starting"
        self.failure: Exception | None = None
        self._handler_factory = handler_factory
        self._handler: Handler | None = None
        self._loading: asyncio.Task[None] | None = None

    @property
    def handler(self) -> Handler:
        """The pipeline.

        Raises:
            NotReady: the service is starting or draining.
        """
        if self._handler is None or self.state != "ready":
            doing = {"starting": "still starting", "draining": "about to stop"}.get(self.state, "not able to start")
            raise NotReady(f"The service is {doing}; please try again later.", retry_after=_RETRY_AFTER_SECONDS)
        return self._handler

    @property
    def idle(self) -> bool:
        """Whether no request is being read, waits or runs."""
        return self.executor.taken == 0

    @property
    def status(self) -> Status:
        """The state, or ``memory_critical`` where new work is turned away for want of memory."""
        return "memory_critical" if self.state == "ready" and self._guard.is_short() else self.state

    def start(self) -> None:
        """Begin to load the models, in the background."""
        configure_memory_logging(self.settings.enable_memory_logging)
        for line in allocator.tune(self.settings):
            _log.debug(line)
        self.monitor.open()
        self._loading = asyncio.create_task(self._load(), name="load models")
        self._watching = asyncio.create_task(self._watch(), name="watch memory")

    @contextlib.asynccontextmanager
    async def admit(self, upload_mb: float) -> AsyncIterator[tuple[Place, Promise]]:
        """Take a place in the queue, as long as :meth:`InferenceExecutor.admit` says, and the memory for the upload.

        Args:
            upload_mb: what reading the body takes at most; the promise may be extended by what comes beyond it.

        Raises:
            ServiceBusy: no place is left, or not enough memory.
            TooLarge: the upload alone is more than the memory that can be had.
        """
        await self._guard.make_room(self.executor.retry_after)
        with self.executor.admit() as place, self._budget.promise_upload(upload_mb) as promise:
            yield place, promise

    def drain(self) -> None:
        """Take no new requests from now on."""
        if self.state != "failed":
            self.state = "draining"

    async def stop(self) -> None:
        """Take no new requests, wait a bounded time for the running ones, and let go of everything."""
        self.drain()
        if self._watching is not None:
            self._watching.cancel()
        patience = _PATIENCE_SECONDS
        if self._loading is not None and not self._loading.done():
            patience = 0.0  # a load cannot be told to stop, and nobody needs what it makes
            self._loading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loading
        if not await self.executor.close(patience):
            _log.warning("a thread is still busy; the process ends without it")
        elif self._handler is not None:
            self._handler.close()
        self._handler = None
        for thread in (self._housekeeper, self.monitor):
            await asyncio.get_running_loop().run_in_executor(None, thread.close)  # it may wait for a cleanup
        if self.audio_cache is not None:
            self.audio_cache.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if self.state == "ready" and self._guard.look(self.executor.taken):
                    self._recycle()
            except Exception:
                _log.exception("the memory cannot be watched")

    async def _load(self) -> None:
        try:
            self._handler = await self.executor.run(self._build)
        except Exception as error:
            _log.exception("the service cannot start")
            self.state, self.failure = "failed", error
        else:
            if self.state == "starting":
                self._say_what_fits()
                self._housekeeper.open()
                self.state = "ready"

    def _build(self) -> Handler:
        # on the thread: the import of its libraries takes a second
        if self.audio_cache is not None:
            try:
                self.audio_cache.open()
            except OSError as error:
                folder = error.filename or self.settings.audio_cache_dir or default_folder()
                raise OSError(f"AUDIO_CACHE_DIR {folder} cannot be used: {error.strerror or error}") from error
        handler = self._handler_factory(self.settings, self._budget, self.audio_cache)
        handler.load()
        freeze_heap()
        self._guard.started()
        self._budget.started()
        return handler

    def _recycle(self) -> None:
        if self.on_recycle is None:
            if not self._told:  # it is asked every second
                _log.error("MEMORY_RECYCLE has no effect: who serves this application cannot end it, python -m app can")
            self._told = True
            return
        _log.critical("memory stays short: this process ends, for a new one")
        self.recycling = True
        self.drain()
        self.on_recycle()

    def _say_what_fits(self) -> None:
        longest = self.settings.max_audio_seconds
        needed, left = analysis_mb(longest), self._budget.largest_mb()
        if needed > left:
            _log.warning(
                "a recording of MAX_AUDIO_SECONDS=%g needs about %.0f MB, but %.0f MB are left below the critical "
                "threshold: long recordings will be refused",
                longest,
                needed,
                left,
            )

    def _drop_caches(self, _level: Level) -> None:
        handler = self._handler  # :meth:`stop` forgets it, on another thread
        if handler is not None:
            handler.drop_caches()

    def _chores(self) -> list[Chore]:
        chores = [Chore(self._release_unused, _UNUSED_SECONDS)]
        if self.audio_cache is not None:
            kept = 3600 * self.settings.audio_cache_cleanup_hours
            chores.append(Chore(self.audio_cache.prune, min(_PRUNE_SECONDS, kept / 10)))
        return chores

    def _release_unused(self) -> None:
        handler = self._handler
        if handler is not None:
            handler.release_unused()

    @property
    def model_loads(self) -> Mapping[str, int]:
        """How often each model was loaded, by name."""
        return {} if self._handler is None else self._handler.model_loads


def _audio_cache(settings: Settings) -> TempAudioCache | None:
    if not settings.enable_audio_cache:
        return None
    return TempAudioCache(
        settings.audio_cache_dir or default_folder(),
        max_age_seconds=3600 * settings.audio_cache_cleanup_hours,
        max_bytes=int(settings.audio_cache_max_mb * 2**20),
        max_files=settings.audio_cache_max_files,
    )
