"""Models are loaded once, lent to whoever works with them, and dropped only when nobody does."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _Slot:
    """One model, or its absence, and how many use it."""

    def __init__(self) -> None:
        self.loading = threading.Lock()
        self.model: Any = None
        self.users = 0


class ModelCache:
    """Keeps models by name; safe from any thread.

    Args:
        keep: hold models between leases (the setting ``ENABLE_MODEL_CACHE``); otherwise the last to give one back drops
            it.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._slots: dict[str, _Slot] = {}
        self._loads: Counter[str] = Counter()

    @property
    def loads(self) -> dict[str, int]:
        """How often each model was loaded."""
        with self._lock:
            return dict(self._loads)

    @property
    def loaded(self) -> list[str]:
        """Names of the models that are in memory now."""
        with self._lock:
            return sorted(name for name, slot in self._slots.items() if slot.model is not None)

    @contextlib.contextmanager
    def lease(self, name: str, load: Callable[[], T]) -> Iterator[T]:
        """Lend a model for the length of a ``with`` block.

        Args:
            name: of the model.
            load: makes it, if it is not there; others who want it wait meanwhile. What it raises goes to the caller,
                and the next lease tries again.
        """
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
            slot.users += 1
        try:
            with slot.loading:
                if slot.model is None:
                    slot.model = load()
                    with self._lock:
                        self._loads[name] += 1
            yield cast(T, slot.model)
        finally:
            with self._lock:
                slot.users -= 1
                if not self._keep and not slot.users:
                    slot.model = None

    def unload(self, name: str) -> bool:
        """Drop a model that nobody uses now.

        Returns:
            Whether there was one and it is gone.
        """
        with self._lock:
            slot = self._slots.get(name)
            if slot is None or slot.model is None or slot.users:
                return False
            slot.model = None
            return True

    def clear(self) -> None:
        """Drop every model that nobody uses; those in use go with their last user."""
        with self._lock:
            self._keep = False
            for slot in self._slots.values():
                if not slot.users:
                    slot.model = None
