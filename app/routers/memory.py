"""How much memory there is, a cleanup at hand, and the metrics."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Depends, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from app.core.memory_utils import get_memory_info
from app.routers import openapi_examples
from app.routers.deps import ServiceDep, require_api_key


class GpuInfo(BaseModel):
    """Memory of the GPU, in MB."""

    name: str
    total_mb: float
    allocated_mb: float
    reserved_mb: float
    free_mb: float


class ThresholdsInfo(BaseModel):
    """Where the levels begin, in MB."""

    warning_mb: float
    critical_mb: float


class CountersInfo(BaseModel):
    """What was counted since the start."""

    requests: int = Field(description="Requests that have ended, health checks and the like left out.")
    in_flight: int = Field(description="Requests that have begun and not ended.")
    cleanups: dict[str, int] = Field(description="Cleanups by kind: request, periodic, manual, emergency.")
    objects_collected: int = Field(description="Unreachable objects that cleanups found.")
    freed_mb: float = Field(description="RSS that cleanups gave back.")
    warnings: int = Field(description="Times that the warning threshold was crossed.")
    criticals: int = Field(description="Times that the critical threshold was crossed.")


class MemoryInfo(BaseModel):
    """The memory of the process and of its limit, in MB of 1024 * 1024 bytes."""

    status: Literal["ok", "warning", "critical"]
    rss_mb: float = Field(description="Resident set size of the process.")
    vms_mb: float = Field(description="Virtual size of the process.")
    percent: float = Field(description="RSS of the limit, in %.")
    available_mb: float = Field(description="What is left of the limit.")
    total_mb: float = Field(description="The effective limit.")
    source: str = Field(description="Whose limit it is: cgroup2, cgroup1 or host.")
    gpu: GpuInfo | None = Field(description="null where none is used.")
    thresholds: ThresholdsInfo
    counters: CountersInfo
    models: list[str] = Field(description="Models that were loaded.")


class CleanupInfo(BaseModel):
    """What a cleanup did."""

    objects: int = Field(description="Unreachable objects that were collected.")
    freed_mb: float = Field(description="RSS that was given back.")
    rss_mb: float = Field(description="RSS afterwards.")
    seconds: float = Field(description="How long it took.")


_METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format",
        "content": {"text/plain": {"example": "elocute_memory_rss_bytes 1.61e+08\n"}},
    }
}

router = APIRouter(tags=["memory"])


@router.get("/memory", summary="Memory in use, thresholds and counters", response_model=MemoryInfo)
async def memory(service: ServiceDep) -> dict[str, Any]:
    """Reads the memory now; `status` is `warning` or `critical` above the thresholds."""
    status = service.monitor.check()
    counters, thresholds = service.monitor.snapshot(), service.monitor.thresholds
    return get_memory_info() | {
        "status": status,
        "thresholds": {"warning_mb": round(thresholds.warning_mb, 1), "critical_mb": round(thresholds.critical_mb, 1)},
        "counters": {
            "requests": counters.requests,
            "in_flight": counters.in_flight,
            "cleanups": dict(counters.cleanups),
            "objects_collected": counters.objects_collected,
            "freed_mb": round(counters.freed_mb, 1),
            "warnings": counters.warnings,
            "criticals": counters.criticals,
        },
        "models": sorted(service.model_loads),
    }


@router.post(
    "/memory/cleanup",
    summary="Clean up now",
    response_model=CleanupInfo,
    responses={401: openapi_examples.UNAUTHORIZED},
    dependencies=[Depends(require_api_key)],
)
async def cleanup(service: ServiceDep) -> dict[str, Any]:
    """Collects garbage and gives free memory back to the system; answers when that is done."""
    done = await asyncio.wrap_future(service.monitor.request_cleanup("manual"))
    return {
        "objects": done.objects,
        "freed_mb": round(done.freed_mb, 1),
        "rss_mb": round(done.rss_mb, 1),
        "seconds": round(done.seconds, 4),
    }


@router.get("/metrics", summary="For Prometheus", response_class=Response, responses=_METRICS)
async def metrics(service: ServiceDep) -> Response:
    """Memory, cleanups, queue, rejections, stage times and model loads."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
