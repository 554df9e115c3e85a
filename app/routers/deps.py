"""What routes ask for: the service, and the caller's API key."""

from __future__ import annotations

import secrets
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.core.errors import Unauthorized
from app.core.lifecycle import Service

_BEARER = HTTPBearer(auto_error=False, description="The service's `API_KEY`, where one is set.")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same, as a header of its own.")


async def get_service(request: Request) -> Service:  # async: FastAPI would call it on a thread of the default pool
    """The service that the lifespan made."""
    return cast(Service, request.app.state.service)


ServiceDep = Annotated[Service, Depends(get_service)]


async def require_api_key(
    service: ServiceDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> None:
    """Let the request pass where no key is configured, or it has the right one.

    Raises:
        Unauthorized: it has none, or another one.
    """
    if service.settings.api_key is None:
        return
    expected = service.settings.api_key.get_secret_value().encode()
    given = [key for key in (bearer.credentials if bearer else None, header) if key]
    # Headers arrive as Latin-1; compared as the bytes that were sent, in a time that tells nothing of the key.
    if not any(secrets.compare_digest(key.encode("latin-1"), expected) for key in given):
        raise Unauthorized(
            "The API key is wrong." if given else "Send the API key as Authorization: Bearer or as X-API-Key."
        )
