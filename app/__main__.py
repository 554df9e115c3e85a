"""``python -m app`` serves; settings come from the environment and ``.env`` (see ``.env.example``)."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.settings import Settings

EXIT_FAILURE = 1
EXIT_SETTINGS = 2
EXIT_RECYCLE = 75  # EX_TEMPFAIL: not 0, so that a supervisor that restarts on failure does, too
_END_SECONDS = 1.0  # for idle threads to notice that they may end


def _end_at_once(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> int:
    """Serve until a signal comes.

    Returns:
        The exit status: 0 after a signal, 1 where the service cannot start, 2 where a setting is wrong, 75 where memory
        stayed critical and ``MEMORY_RECYCLE`` is set.
    """
    signal.signal(signal.SIGTERM, _end_at_once)  # first of all: process 1 of a container ignores what it has not set
    from pydantic import ValidationError

    from app.core.settings import Settings, explain

    try:
        settings = Settings()
    except ValidationError as error:
        return _fail(EXIT_SETTINGS, *explain(error))
    except (OSError, UnicodeDecodeError) as error:
        return _fail(EXIT_SETTINGS, f".env cannot be read: {error}")
    _configure_logging(settings)

    from app.main import create_app
    from app.server import Server, listen

    try:
        app = create_app(settings)
    except ValueError as error:
        return _fail(EXIT_SETTINGS, str(error))
    try:
        listener = listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        return _fail(EXIT_FAILURE, f"cannot listen on {settings.host}:{settings.port}: {_reason(error)}")
    with listener:
        server = Server(app, settings)
        server.run([listener])
    failure = server.service.failure if server.service else None
    if failure is not None:
        return _fail(EXIT_FAILURE, f"cannot start: {failure or type(failure).__name__}")
    return EXIT_RECYCLE if server.service and server.service.recycling else 0


def _configure_logging(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno and error.errno > 0:  # those of name resolution are negative
        return os.strerror(error.errno)  # the error's own text has the address a second time
    return getattr(error, "strerror", None) or str(error)


def _fail(status: int, *lines: str) -> int:
    for line in lines:
        sys.stderr.write(f"elocute: {' '.join(str(line).split())}\n")
    return status


def _end(status: int) -> None:
    """End the process, also where a thread is still busy: the interpreter would wait for it for ever."""
    from app.server import threads_are_stuck

    deadline = time.monotonic() + _END_SECONDS
    while threads_are_stuck() and time.monotonic() < deadline:
        time.sleep(0.01)
    if threads_are_stuck():
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    _end(main())
