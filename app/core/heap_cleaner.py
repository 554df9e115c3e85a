"""Collects garbage and trims the heap, in one thread at a time."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from typing import Any

from app.core import allocator

_log = logging.getLogger("app.memory")


class HeapCleaner:
    """Collects garbage and gives free memory back, in one thread at a time.

    Who comes while a cleanup runs cannot rely on that one, as it may be past the caller's garbage by then. It waits,
    and the first to wait runs the next cleanup for all who came before that begins: a hundred callers at once cost
    two cleanups.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may ask for a cleanup in the middle of one
        self._begun = [0, 0, 0]  # cleanups that covered each generation

    def clean(self, generation: int, *, trim: bool = True) -> int:
        """Do what :func:`app.core.memory_utils.force_cleanup` says; ``trim`` gives free heap back, too."""
        if generation not in range(3):
            raise ValueError(f"The generation is 0, 1 or 2, not {generation}.")
        begun_before = self._begun[generation]
        with self._lock:
            if self._begun[generation] > begun_before:
                return 0
            for covered in range(generation + 1):
                self._begun[covered] += 1
            collected = gc.collect(generation)
            if trim:
                _empty_cuda_cache()
                allocator.trim()
            return collected

    def freeze(self) -> int:
        """Do what :func:`freeze_heap` says."""
        with self._lock:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            allocator.trim()
            return gc.get_freeze_count()


def used_cuda() -> Any | None:
    """``torch.cuda`` where torch is imported and already uses a GPU; never what makes it so."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    is_initialized = getattr(cuda, "is_initialized", None)  # missing while another thread imports torch
    return cuda if is_initialized is not None and is_initialized() else None


def _empty_cuda_cache() -> None:
    cuda = used_cuda()
    if cuda is not None:
        try:
            cuda.empty_cache()
        except RuntimeError:
            _log.debug("the CUDA cache cannot be emptied", exc_info=True)
