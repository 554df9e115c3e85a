from __future__ import annotations

import ctypes.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.core import allocator
from app.core.allocator import _classify, which_allocator
from app.core.memory_config import MemorySettings

ROOT = Path(__file__).parents[2]
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"

needs_glibc = pytest.mark.skipif(which_allocator() != "glibc", reason="the process' malloc is not glibc's")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="preloads a library")


def child(code: str, **env: str) -> str:
    """What a process of its own prints: malloc's options cannot be taken back."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "ONEDNN_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**ours, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def settings(arena: int = 0, trim: int = 0, mmap: int = 0, onednn: int = 0) -> MemorySettings:
    """Settings that leave everything alone but what is given."""
    return MemorySettings(
        _env_file=None,
        malloc_arena_max=arena,
        malloc_trim_threshold_kb=trim,
        malloc_mmap_threshold_kb=mmap,
        onednn_primitive_cache_capacity=onednn,
    )


def tuned(then: str = "", arena: int = 0, trim: int = 0, mmap: int = 0, onednn: int = 0, **env: str) -> str:
    """What a process prints that tunes and then runs a piece of code."""
    return child(
        f"""
import os, sys
from app.core.allocator import tune
from app.core.memory_config import MemorySettings
settings = MemorySettings(
    _env_file=None, malloc_arena_max={arena}, malloc_trim_threshold_kb={trim}, malloc_mmap_threshold_kb={mmap},
    onednn_primitive_cache_capacity={onednn},
)
print(*tune(settings), sep="\\n", flush=True)
{then}
""",
        **env,
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc")
def test_a_plain_process_uses_the_malloc_of_its_libc() -> None:
    assert child("from app.core.allocator import which_allocator; print(which_allocator())", LD_PRELOAD="") == "glibc"


@needs_linux
@pytest.mark.parametrize(
    ("library", "name", "trimmed"),
    [
        ("jemalloc", "jemalloc", True),
        ("tcmalloc", "tcmalloc", False),
        ("tcmalloc_minimal", "tcmalloc", False),
        ("mimalloc", "mimalloc", False),
    ],
)
def test_a_preloaded_allocator_is_the_one_in_use(library: str, name: str, trimmed: bool) -> None:
    path = ctypes.util.find_library(library)
    if path is None:
        pytest.skip(f"{library} is not installed")
    out = tuned("from app.core.allocator import *; print(which_allocator(), trim())", arena=2, LD_PRELOAD=path)
    assert out == f"mallopt is left out: the allocator is not glibc's ({name})\n{name} {trimmed}"


@needs_glibc
@pytest.mark.parametrize("mode", ["RTLD_LOCAL", "RTLD_GLOBAL"])
def test_an_allocator_that_a_library_brings_for_itself_is_not_the_one_in_use(mode: str) -> None:
    path = ctypes.util.find_library("mimalloc") or ctypes.util.find_library("tcmalloc_minimal")
    if path is None:
        pytest.skip("no further allocator is installed")
    load = f"import ctypes; ctypes.CDLL({path!r}, ctypes.{mode})"
    assert child(f"{load}; from app.core.allocator import *; print(which_allocator(), trim())") == "glibc True"


@pytest.mark.parametrize(
    ("symbols", "name"),
    [
        ({"malloc_usable_size": LIBC, "gnu_get_libc_version": LIBC}, "glibc"),
        ({"malloc_usable_size": LIBC, "gnu_get_libc_version": LIBC, "mallctl": "/x/libarrow.so"}, "glibc"),
        ({"malloc_usable_size": "/x/libj.so", "gnu_get_libc_version": LIBC, "mallctl": "/x/libj.so"}, "jemalloc"),
        ({"malloc_usable_size": "/x/libasan.so", "gnu_get_libc_version": LIBC}, "other"),
        ({"malloc_usable_size": "/lib/ld-musl-x86_64.so.1"}, "musl"),
        ({"malloc_usable_size": "/usr/bin/python3", "mallctl": "/usr/bin/python3"}, "jemalloc"),
        ({"mallctl": "/x/libj.so"}, "other"),
    ],
)
def test_whoever_answers_for_malloc_is_the_allocator(symbols: dict[str, str], name: str) -> None:
    lookup: Callable[[str], str | None] = symbols.get
    assert _classify(lookup) == name


def test_nothing_set_is_nothing_done() -> None:
    assert tuned("print('ONEDNN_PRIMITIVE_CACHE_CAPACITY' in os.environ)") == "False"


@needs_glibc
def test_every_option_is_one_line() -> None:
    assert tuned(arena=2, trim=256, mmap=128, onednn=16).splitlines() == [
        "mallopt(M_ARENA_MAX, 2) done",
        "mallopt(M_TRIM_THRESHOLD, 262144) done",
        "mallopt(M_MMAP_THRESHOLD, 131072) done",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY set to 16",
    ]


def test_what_glibc_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def mallopt(option: int, value: int) -> int:
        asked.append((option, value))
        return int(option == -8)

    monkeypatch.setattr(allocator, "which_allocator", lambda: "glibc")
    monkeypatch.setattr(allocator, "_symbols", lambda: SimpleNamespace(mallopt=mallopt))
    assert allocator.tune(settings(arena=2, trim=1, mmap=3)) == [
        "mallopt(M_ARENA_MAX, 2) done",
        "mallopt(M_TRIM_THRESHOLD, 1024) refused: the value is out of range",
        "mallopt(M_MMAP_THRESHOLD, 3072) refused: the value is out of range",
    ]
    assert asked == [(-8, 2), (-1, 1024), (-3, 3072)]


@needs_glibc
def test_threads_share_the_arenas_that_are_allowed() -> None:
    heaps = """
import ctypes, threading
barrier = threading.Barrier(7)
def hold():
    block = bytes(5000)
    barrier.wait()
    barrier.wait()
threads = [threading.Thread(target=hold) for _ in range(6)]
for thread in threads: thread.start()
barrier.wait()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
barrier.wait()
for thread in threads: thread.join()
"""
    assert tuned(heaps, arena=2).count("<heap nr=") == 2
    assert tuned(heaps).count("<heap nr=") > 2


@needs_glibc
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="glibc before 2.33")
@pytest.mark.parametrize(("threshold", "maps"), [(64, 1), (4096, 0)])
def test_blocks_above_the_threshold_are_mapped(threshold: int, maps: int) -> None:
    count = """
import ctypes
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
before = libc.mallinfo2().d  # hblks
block = bytes(1_000_000)
print(libc.mallinfo2().d - before)
"""
    assert tuned(count, mmap=threshold).splitlines()[-1] == str(maps)


def test_an_operator_s_own_onednn_capacity_stays() -> None:
    out = tuned("print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])", onednn=16, ONEDNN_PRIMITIVE_CACHE_CAPACITY="99")
    assert out == "ONEDNN_PRIMITIVE_CACHE_CAPACITY is left as it is: 99\n99"


def test_an_onednn_capacity_that_may_come_too_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "x")  # so that it is put back afterwards
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    (line,) = allocator.tune(settings(onednn=7))
    assert line.startswith("ONEDNN_PRIMITIVE_CACHE_CAPACITY set to 7, but torch is imported")
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
