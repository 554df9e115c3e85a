"""Whether the service lives, and whether it takes requests."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.routers.deps import ServiceDep


class Status(BaseModel):
    """A word on how the service is."""

    status: str = Field(description="ok, ready, starting, draining, failed or memory_critical.")


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "Starting, draining, or short of memory: requests for an analysis are refused",
        "model": Status,
        "content": {"application/json": {"example": {"status": "starting"}}},
    }
}

router = APIRouter(tags=["system"])


@router.get("/health", summary="Is the process alive?", response_model=Status)
async def health() -> JSONResponse:
    """Answers 200 while the process serves at all, also while models are loaded."""
    return JSONResponse({"status": "ok"})


@router.get("/ready", summary="Does it take requests?", response_model=Status, responses=_NOT_READY)
async def ready(service: ServiceDep) -> JSONResponse:
    """Answers 200 once the models are loaded and while there is memory, until the service is asked to stop."""
    status = service.status
    return JSONResponse({"status": status}, 200 if status == "ready" else 503)
