"""Small chores that come again and again, on a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

THREAD_NAME = "elocute-housekeeper"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Chore:
    """What to do, and how often.

    Attributes:
        run: blocking; what it raises is logged.
        seconds: from one time to the next.
    """

    run: Callable[[], object]
    seconds: float
    _due: float = field(default=0.0, repr=False)


class Housekeeper:
    """Runs chores, one at a time, from :meth:`open` to :meth:`close`; each for the first time after its interval."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._chores = list(chores)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Start the thread, where there is anything to do."""
        if self._thread is None and self._chores:
            self._stop.clear()
            self._thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Let the chore that runs finish, and end the thread; may be called again."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        for chore in self._chores:
            chore._due = time.monotonic() + chore.seconds
        while True:
            next_one = min(self._chores, key=lambda chore: chore._due)
            if self._stop.wait(max(0.0, next_one._due - time.monotonic())):
                return
            try:
                next_one.run()
            except Exception:
                _log.exception("a chore failed")
            next_one._due = time.monotonic() + next_one.seconds
