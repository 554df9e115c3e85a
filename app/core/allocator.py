"""What the C heap is told, and asked: which malloc this process uses, its settings, giving free memory back.

glibc keeps one arena per thread, up to eight per core, and gives the end of each back only. So a service that has
served a peak goes on holding it: its settings bound that from the start, :func:`trim` gives back what is free by now.
See mallopt(3), malloc_trim(3) and, for jemalloc, https://jemalloc.net/jemalloc.3.html.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.core.memory_config import MemorySettings

Allocator = Literal["glibc", "jemalloc", "tcmalloc", "mimalloc", "musl", "other"]

ONEDNN_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"

# <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_INT_MAX = 2**31 - 1

_JEMALLOC_PURGE_ALL = b"arena.4096.purge"  # MALLCTL_ARENAS_ALL, since jemalloc 5

_PROBE = "malloc_usable_size"
"""Stands for the whole malloc family. ``malloc`` itself would not do: where the interpreter is no position-independent
executable and takes malloc's address somewhere, as Debian's is and does, the address found is a stub in the
interpreter. Every allocator meant to replace malloc has this one too."""

_SIGNATURES: tuple[tuple[Allocator, str], ...] = (
    ("jemalloc", "mallctl"),
    ("tcmalloc", "MallocExtension_ReleaseFreeMemory"),  # gperftools
    ("tcmalloc", "MallocExtension_Internal_ReleaseMemoryToSystem"),  # google/tcmalloc
    ("mimalloc", "mi_malloc"),
    ("glibc", "gnu_get_libc_version"),
)
"""Symbols that only the allocator's own library has."""


@functools.cache
def which_allocator() -> Allocator:
    """Say which malloc this process uses.

    The question is which loaded object answers for malloc, not which are loaded: a wheel may bring a private jemalloc
    that serves nobody else, and glibc is there beside a jemalloc that was preloaded.

    Returns:
        The allocator's name; ``"other"`` where it is none of these, and away from Linux.
    """
    if sys.platform != "linux":
        return "other"
    try:
        return _classify(_defining_object)
    except (OSError, AttributeError):  # a static interpreter: nothing can be looked up
        return "other"


def tune(settings: MemorySettings) -> list[str]:
    """Tell the allocator and oneDNN how much to keep.

    To be called first thing in the process. oneDNN reads its variable when torch first computes something, so that
    calling this before torch is imported is the sure way; ``M_ARENA_MAX`` takes no arena away from a thread that has
    one. An operator's own oneDNN variable is left as it is. Whoever sets ``M_TRIM_THRESHOLD`` or ``M_MMAP_THRESHOLD``
    also switches off that glibc raises both by itself as it sees large blocks come and go (mallopt(3)). Small values
    are dear: with 128 KB each tensor's pages are faulted in anew, which doubles the CPU time of a request (measured).

    Args:
        settings: their fields ``malloc_*`` (KB of 1024 bytes) and ``onednn_primitive_cache_capacity`` (primitives);
            0 leaves the thing alone.

    Returns:
        One line for each thing that was done or refused, for the log.
    """
    done = []
    options = (
        ("M_ARENA_MAX", _M_ARENA_MAX, settings.malloc_arena_max),
        ("M_TRIM_THRESHOLD", _M_TRIM_THRESHOLD, settings.malloc_trim_threshold_kb * 1024),
        ("M_MMAP_THRESHOLD", _M_MMAP_THRESHOLD, settings.malloc_mmap_threshold_kb * 1024),
    )
    wanted = [option for option in options if option[2]]
    if wanted and (allocator := which_allocator()) != "glibc":
        done.append(f"mallopt is left out: the allocator is not glibc's ({allocator})")
    else:
        for name, number, value in wanted:
            accepted = value <= _INT_MAX and _symbols().mallopt(number, value) != 0
            done.append(f"mallopt({name}, {value}) {'done' if accepted else 'refused: the value is out of range'}")
    if capacity := settings.onednn_primitive_cache_capacity:
        done.append(_limit_onednn(capacity))
    return done


def trim() -> bool:
    """Ask the allocator to give free memory back to the system; other threads go on meanwhile.

    Under glibc the time goes with what there is to give back and with the number of free blocks: measured 0.03 ms for
    nothing, 0.7 ms for 21 MB, 50 ms for 1 GB, 15 ms for 200,000 small holes that no whole page fits in.

    Returns:
        Whether the allocator knows how and was asked (glibc, and jemalloc since 5). Not whether it had anything:
        glibc's own answer is yes nearly always.
    """
    allocator = which_allocator()
    if allocator == "glibc":
        _symbols().malloc_trim(0)  # ctypes lets go of the GIL for the call
        return True
    if allocator == "jemalloc":
        return bool(_symbols().mallctl(_JEMALLOC_PURGE_ALL, None, None, None, 0) == 0)
    return False


def _limit_onednn(capacity: int) -> str:
    if (present := os.environ.get(ONEDNN_VARIABLE)) is not None:
        return f"{ONEDNN_VARIABLE} is left as it is: {present}"
    os.environ[ONEDNN_VARIABLE] = str(capacity)
    late = ", but torch is imported: too late if it has computed anything" if "torch" in sys.modules else ""
    return f"{ONEDNN_VARIABLE} set to {capacity}{late}"


def _classify(defining_object: Callable[[str], str | None]) -> Allocator:
    """Tell the allocator by the object that each symbol resolves to."""
    provider = defining_object(_PROBE)
    if provider is None:
        return "other"
    for allocator, symbol in _SIGNATURES:
        if defining_object(symbol) == provider:
            return allocator
    return "musl" if PurePath(provider).name.startswith(("ld-musl-", "libc.musl-")) else "other"


class _DlInfo(ctypes.Structure):
    """``Dl_info`` of dladdr(3)."""

    _fields_ = (
        ("dli_fname", ctypes.c_char_p),
        ("dli_fbase", ctypes.c_void_p),
        ("dli_sname", ctypes.c_char_p),
        ("dli_saddr", ctypes.c_void_p),
    )


def _defining_object(symbol: str) -> str | None:
    """The path of the library or program that a symbol of the global scope resolves to, None where there is none."""
    symbols = _symbols()
    try:
        address = ctypes.cast(getattr(symbols, symbol), ctypes.c_void_p)
    except AttributeError:
        return None
    info = _DlInfo()
    symbols.dladdr.argtypes = (ctypes.c_void_p, ctypes.POINTER(_DlInfo))
    if not symbols.dladdr(address, ctypes.byref(info)) or info.dli_fname is None:
        return None
    return os.fsdecode(info.dli_fname)


@functools.cache
def _symbols() -> ctypes.CDLL:
    """The process' global scope, in which the dynamic linker resolves malloc."""
    symbols = ctypes.CDLL(None)
    for name, argtypes in (
        ("mallopt", (ctypes.c_int, ctypes.c_int)),
        ("malloc_trim", (ctypes.c_size_t,)),
        ("mallctl", (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    ):
        if hasattr(symbols, name):
            getattr(symbols, name).argtypes = argtypes
    return symbols
