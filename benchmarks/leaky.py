"""The negative control of the soak: the service as its forerunner was, a backend that died after a few calls.

Models are loaded anew for each request and stay referenced, requests run on the default pool of 40 threads, nothing is
limited, admitted or cleaned up. It has no voice, and is not asked for speech: it has to fail without. ``python -m
benchmarks.soak --leaky`` runs it. It is no example.
"""

from __future__ import annotations

import base64
import os
import sys
from threading import Event
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from app.core.errors import InvalidInput, MalformedRequest
from app.core.results import AnalysisRequest
from app.core.settings import Settings
from app.middleware.request_id import RequestIdMiddleware
from app.routers import problems, schemas
from app.routers.handlers.audio_processing_handler import AudioProcessingHandler
from app.server import listen


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields of the request, the recording among them, whatever their size."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            fields = dict(await request.json())
            audio = base64.b64decode(fields.pop("audio_base64"), validate=True)
        except (ValueError, KeyError) as error:
            raise MalformedRequest(f"The body cannot be read: {error!r}.") from None
        return {**fields, "audio": audio}
    form = dict(await request.form())
    upload = form.pop("audio", None)
    if not isinstance(upload, UploadFile):
        raise InvalidInput("audio is missing.", field="audio")
    return {**form, "audio": await upload.read()}


def create_leaky_app(settings: Settings) -> FastAPI:
    """An application with the routes that the soak calls, which keeps everything it ever touched."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(RequestIdMiddleware)
    history: list[Any] = []  # "for debugging"

    @app.post("/analyze")
    def analyze(fields: Annotated[dict[str, Any], Depends(read_fields)]) -> Response:
        handler = AudioProcessingHandler(settings)
        handler.load()
        history.append((handler, fields))
        job = AnalysisRequest(fields["audio"], fields.get("text"), None, str(len(history)))
        result = handler.analyze(job, Event())
        history.append(result)
        return Response(schemas.serialize(result).head, media_type="application/json")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def main() -> int:
    """Serve on HOST and PORT."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with listen(settings.host, settings.port) as listener:
        server = uvicorn.Server(uvicorn.Config(create_leaky_app(settings), log_level="warning"))
        port = listener.getsockname()[1]
        sys.stdout.write(f"The leaky service is at http://127.0.0.1:{port}\n")
        sys.stdout.flush()
        server.run([listener])
    return 0


if __name__ == "__main__":
    os._exit(main())  # threads of the pool may still load models
