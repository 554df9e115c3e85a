"""Builds the application: routers, middleware, and the lifespan that owns what lives long.

``python -m app`` serves it; ``uvicorn --factory app.main:create_app`` does too.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from app.core.lifecycle import Handler, HandlerFactory, Service
from app.core.memory_budget import MemoryBudget
from app.core.memory_middleware import MemoryMonitoringMiddleware
from app.core.memory_monitor import MemoryMonitor
from app.core.settings import Settings, env_file_warnings
from app.core.temp_audio_cache import TempAudioCache
from app.middleware.body_limit import BodyLimitMiddleware
from app.middleware.pacing import PacingMiddleware
from app.middleware.request_id import RequestIdMiddleware
from app.routers import analyze, audio, memory, problems, synthesize, system
from app.routers.submission import OVERHEAD_BYTES

NOT_COUNTED = ("/health", "/ready", "/memory", "/memory/cleanup", "/metrics")
"""Paths that are asked for all the time and make no garbage worth a cleanup."""

_log = logging.getLogger(__name__)

_DESCRIPTION = """Self-hosted pronunciation analysis: a recording goes in, phonemes with times and scores come out.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) `application/problem+json`. Every answer has the header
`X-Request-ID`: the request's own one where it sent a sane one, else a new one."""


def pipeline(settings: Settings, budget: MemoryBudget, clips: TempAudioCache | None) -> Handler:
    """Make the real pipeline; imported here, as its libraries take seconds to import."""
    from app.routers.handlers.audio_processing_handler import AudioProcessingHandler

    return AudioProcessingHandler(settings, budget, clips)


def create_app(settings: Settings | None = None, handler_factory: HandlerFactory = pipeline) -> FastAPI:
    """Wire the service; nothing is loaded before its lifespan begins.

    Args:
        settings: read from the environment and ``.env`` where left out.
        handler_factory: makes the pipeline; called on an inference thread.

    Raises:
        ValidationError: a setting is wrong; :func:`app.core.settings.explain` says which.
        ValueError: a memory threshold does not fit the limit.
    """
    settings = Settings() if settings is None else settings
    monitor = MemoryMonitor(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for warning in env_file_warnings():
            _log.warning(warning)
        app.state.service = service = Service(settings, handler_factory, monitor)
        service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(title="Elocute", version=_version(), description=_DESCRIPTION, lifespan=lifespan, redoc_url=None)
    problems.install(app)
    app.include_router(analyze.router)
    app.include_router(synthesize.router)
    app.include_router(audio.router)
    app.include_router(system.router)
    app.include_router(memory.router)
    upload = settings.max_upload_bytes
    app.add_middleware(BodyLimitMiddleware, max_body=upload + OVERHEAD_BYTES, max_json=upload * 3 // 2 + OVERHEAD_BYTES)
    app.add_middleware(MemoryMonitoringMiddleware, monitor=monitor, ignore=NOT_COUNTED)
    app.add_middleware(PacingMiddleware, paths=("/analyze", "/synthesize"))
    app.add_middleware(RequestIdMiddleware)  # added last: the outermost
    return app


def _version() -> str:
    try:
        return version("elocute")
    except PackageNotFoundError:  # run from a checkout
        return "0+unknown"
