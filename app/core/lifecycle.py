"""What lives as long as the process: the pipeline, its threads, and whether they take requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from threading import Event
from typing import Literal, Protocol

from app.core.errors import NotReady
from app.core.inference_executor import InferenceExecutor
from app.core.results import AnalysisRequest, AnalysisResult
from app.core.settings import Settings

State = Literal["starting", "ready", "draining", "failed"]

_RETRY_AFTER_SECONDS = 5
_PATIENCE_SECONDS = 5.0  # for jobs that still run when the server has stopped serving

_log = logging.getLogger(__name__)


class Handler(Protocol):
    """The pipeline, as the service needs it: blocking and safe to call from several threads."""

    def load(self) -> None:
        """Load the models and warm up."""

    def close(self) -> None:
        """Let go of everything."""

    def analyze(self, request: AnalysisRequest, cancelled: Event) -> AnalysisResult:
        """Analyse one recording; stop early once ``cancelled`` is set."""


HandlerFactory = Callable[[Settings], Handler]


class Service:
    """The pipeline behind its executor, from starting to draining.

    Attributes:
        settings: of this service.
        executor: admission and threads.
        state: ``starting`` until the models are loaded, then ``ready``; ``draining`` from the first wish to stop;
            ``failed`` where the models cannot be loaded, which ``failure`` explains.
        failure: why loading failed.
    """

    def __init__(self, settings: Settings, handler_factory: HandlerFactory) -> None:
        """Load nothing yet; to be called within a running event loop."""
        self.settings = settings
        self.executor = InferenceExecutor(settings.inference_threads, settings.max_queued_requests)
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

    def start(self) -> None:
        """Begin to load the models, in the background."""
        self._loading = asyncio.create_task(self._load(), name="load models")

    def drain(self) -> None:
        """Take no new requests from now on."""
        if self.state != "failed":
            self.state = "draining"

    async def stop(self) -> None:
        """Take no new requests, wait a bounded time for the running ones, and let go of everything."""
        self.drain()
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

    async def _load(self) -> None:
        try:
            self._handler = await self.executor.run(self._build)
        except Exception as error:
            _log.exception("the models cannot be loaded")
            self.state, self.failure = "failed", error
        else:
            if self.state == "starting":
                self.state = "ready"

    def _build(self) -> Handler:
        handler = self._handler_factory(self.settings)  # on the thread: the import of its libraries takes seconds
        handler.load()
        return handler
