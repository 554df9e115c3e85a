"""Every error answer of the service: RFC 9457 ``application/problem+json``, made here and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from app.core import errors

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:elocute:problem:"
CLIENT_CLOSED_REQUEST = 499
"""For the log alone: nobody is there to read the answer."""

STATUS: dict[type[errors.ElocuteError], int] = {
    errors.MalformedRequest: 400,
    errors.Unauthorized: 401,
    errors.TooLarge: 413,
    errors.UnsupportedAudio: 415,
    errors.RangeNotSatisfiable: 416,
    errors.InvalidInput: 422,
    errors.ServiceBusy: 503,
    errors.AnalysisTimeout: 504,
}
"""The status of an error and of the classes below it; what is not here is a failure of the service, 500."""

_NAMED: dict[int, type[errors.ElocuteError]] = {
    413: errors.TooLarge,
    422: errors.InvalidInput,
    500: errors.ElocuteError,
}
"""What an HTTPException of one of these statuses is called."""

_log = logging.getLogger(__name__)


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(description="Stable; ends in the error's name.")
    title: str = Field(description="The kind of error, the same every time.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="A sentence about this error, for the caller.")
    request_id: str = Field(description="The same as the header X-Request-ID.")
    field: str | None = Field(None, description="The field of the request to blame; left out where none is.")


def install(app: FastAPI) -> None:
    """Let every error that a route raises be answered from here; the middleware asks :func:`respond` itself."""

    async def handle(request: Request, error: Exception) -> Response:
        return respond(error, request.scope)

    for kind in (errors.ElocuteError, RequestValidationError, HTTPException, ClientDisconnect):
        app.add_exception_handler(kind, handle)


def respond(error: Exception, scope: Any) -> Response:
    """Turn any exception into its answer.

    Args:
        error: an unexpected one is logged with its traceback and answered without a word of it.
        scope: of the request.
    """
    request_id: str = scope.get("state", {}).get("request_id", "")
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    if isinstance(error, RequestValidationError):
        error = _invalid(error)
    # An error of ours that no request is to blame for has its detail in the log, not in the answer.
    if isinstance(error, errors.ElocuteError) and status_of(type(error)) != HTTPStatus.INTERNAL_SERVER_ERROR:
        return _answer(of(error, request_id), _headers(error))
    if isinstance(error, HTTPException):
        return _http(error, scope, request_id)
    _log.error("request %s failed", request_id, exc_info=error)
    unexpected = errors.ElocuteError("Something went wrong within the service; please name the request_id.")
    return _answer(of(unexpected, request_id))


def respond_status(error: Exception) -> int:
    """The status that :func:`respond` answers an exception with."""
    if isinstance(error, ClientDisconnect):
        return CLIENT_CLOSED_REQUEST
    if isinstance(error, HTTPException):
        return error.status_code
    return status_of(errors.InvalidInput if isinstance(error, RequestValidationError) else type(error))


def of(error: errors.ElocuteError, request_id: str) -> Problem:
    """Describe an error of ours."""
    kind = type(error)
    return Problem(
        type=TYPE_PREFIX + kind.name,
        title=kind.title,
        status=status_of(kind),
        detail=error.detail,
        request_id=request_id,
        field=error.field,
    )


def status_of(kind: type[Exception]) -> int:
    """The status of a class of errors: its own or that of its nearest base, 500 without one."""
    return next((STATUS[base] for base in kind.__mro__ if base in STATUS), 500)


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(problem.model_dump(exclude_none=True), problem.status, headers, MEDIA_TYPE)


def _headers(error: errors.ElocuteError) -> dict[str, str]:
    if isinstance(error, errors.ServiceBusy):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.RangeNotSatisfiable):
        return {"Content-Range": f"bytes */{error.size}"}
    return {}


def _invalid(error: RequestValidationError) -> errors.InvalidInput:
    first = error.errors()[0]
    names = [part for part in first["loc"] if isinstance(part, str)]
    return errors.InvalidInput(f"{first['msg']}.", field=names[-1] if len(names) > 1 else None)


def _http(error: HTTPException, scope: Any, request_id: str) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    if kind := _NAMED.get(error.status_code):
        name, title = kind.name, kind.title
    else:
        name, title = phrase.lower().replace(" ", "-"), phrase
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND and detail == phrase:
        detail = "Nothing is served at this path."
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and detail == phrase:
        allowed = (error.headers or {}).get("Allow", "another method")
        detail = f"This path takes {allowed}, not {scope['method']}."
    problem = Problem(
        type=TYPE_PREFIX + name, title=title, status=error.status_code, detail=detail, request_id=request_id
    )
    return _answer(problem, error.headers)
