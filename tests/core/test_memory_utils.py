from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from app.core import allocator, memory_utils
from app.core.allocator import which_allocator
from app.core.heap_cleaner import HeapCleaner
from app.core.memory_limit import MemoryLimit
from app.core.memory_utils import (
    MB,
    STAGE_LOGGER,
    MemoryTracker,
    cleanup_after,
    configure_memory_logging,
    force_cleanup,
    get_memory_info,
    memory_tracked,
    rss_mb,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("app.memory", STAGE_LOGGER)]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract's example: a machine of 16 GB."""
    limit = MemoryLimit(int(16009.4 * MB), int(12588.3 * MB), int(3421.1 * MB), "host")
    monkeypatch.setattr(memory_utils, "read_memory_limit", lambda: limit)
    monkeypatch.setattr(memory_utils, "rss_mb", lambda: 512.3)


class Knot:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


def tie() -> weakref.ref[Knot]:
    return weakref.ref(Knot())


@pytest.fixture
def _no_automatic_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- get_memory_info


def test_memory_info_is_that_of_the_process_and_json() -> None:
    info = get_memory_info()
    assert set(info) == {"rss_mb", "vms_mb", "percent", "available_mb", "total_mb", "source", "gpu"}
    assert info["rss_mb"] == pytest.approx(psutil.Process().memory_info().rss / MB, rel=0.2)
    assert info["vms_mb"] >= info["rss_mb"] > 1
    assert 0 < info["percent"] <= 100
    assert 0 <= info["available_mb"] < info["total_mb"] <= psutil.virtual_memory().total / MB + 0.1
    assert info["source"] in {"cgroup2", "cgroup1", "host"}
    assert json.loads(json.dumps(info)) == info


def test_percent_is_of_the_effective_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    rss = psutil.Process().memory_info().rss
    monkeypatch.setattr(memory_utils, "read_memory_limit", lambda: MemoryLimit(rss * 4, rss, rss * 3, "cgroup2"))
    info = get_memory_info()
    assert info["percent"] == pytest.approx(25, abs=3)
    assert info["source"] == "cgroup2"
    assert info["available_mb"] == round(rss * 3 / MB, 1)


def test_memory_info_and_cleanup_never_import_torch() -> None:
    use = "import sys; from app.core.memory_utils import *; get_memory_info(); force_cleanup()"
    assert run(f"{use}; print('torch' in sys.modules)") == "False"


def test_rss_is_read_without_proc_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from_proc = rss_mb()

    def no_proc(*_: object) -> int:
        raise FileNotFoundError

    with monkeypatch.context() as patched:
        patched.setattr("app.core.memory_utils.os.open", no_proc)
        without = rss_mb()
    assert without == pytest.approx(from_proc, rel=0.1)


def fake_torch(**cuda: Any) -> SimpleNamespace:
    return SimpleNamespace(
        cuda=SimpleNamespace(
            **{
                "is_initialized": lambda: True,
                "mem_get_info": lambda: (3 * MB, 8 * MB),
                "get_device_name": lambda: "A GPU",
                "memory_allocated": lambda: int(1.26 * MB),
                "memory_reserved": lambda: 2 * MB,
                **cuda,
            }
        )
    )


def broken(*_: object) -> None:
    raise RuntimeError("CUDA error: device lost")


def test_a_gpu_in_use_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake_torch())
    assert get_memory_info()["gpu"] == {
        "name": "A GPU",
        "total_mb": 8.0,
        "allocated_mb": 1.3,
        "reserved_mb": 2.0,
        "free_mb": 3.0,
    }


@pytest.mark.parametrize(
    "torch", [fake_torch(is_initialized=lambda: False), fake_torch(mem_get_info=broken), SimpleNamespace()]
)
def test_no_gpu_where_it_is_idle_or_in_trouble_or_torch_half_imported(
    torch: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert get_memory_info()["gpu"] is None


# --- MemoryTracker


def test_the_line_of_a_stage_is_the_contract_s(measured: None, caplog: pytest.LogCaptureFixture) -> None:
    configure_memory_logging(True)
    with MemoryTracker("Audio Analysis Pipeline"):
        pass
    assert caplog.record_tuples == [
        (STAGE_LOGGER, logging.INFO, "[Audio Analysis Pipeline] RSS: 512.3MB, Percent: 3.2%, Available: 3421.1MB")
    ]


def test_switching_stages_off_leaves_cleanups_and_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    configure_memory_logging(False)
    with MemoryTracker("x"):
        logging.getLogger("app.memory").info("🧹 Periodic cleanup")
    assert caplog.messages == ["🧹 Periodic cleanup"]


def test_stages_are_off_by_default_and_cost_no_look_at_the_limit(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)  # Python's own default
    monkeypatch.setattr(memory_utils, "read_memory_limit", broken)
    with MemoryTracker("x"):
        pass
    assert caplog.messages == []


def test_what_a_stage_cost_is_known_afterwards() -> None:
    with MemoryTracker("x") as tracker:
        assert tracker.rss_after_mb == tracker.seconds == 0
        held = bytearray(b"x") * (32 * MB)
    assert tracker.rss_delta_mb == tracker.rss_after_mb - tracker.rss_before_mb
    assert 25 < tracker.rss_delta_mb < 60
    assert len(held) == 32 * MB
    assert 0 < tracker.seconds < 60


def test_a_stage_s_error_passes_through_and_is_measured(measured: None, caplog: pytest.LogCaptureFixture) -> None:
    configure_memory_logging(True)
    error = ValueError("mine")
    tracker = MemoryTracker("x")
    with pytest.raises(ValueError, match="mine") as raised, tracker:
        raise error
    assert raised.value is error
    assert raised.value.__context__ is None
    assert tracker.seconds > 0
    assert len(caplog.messages) == 1


def test_trackers_nest_in_tasks_that_take_turns(measured: None, caplog: pytest.LogCaptureFixture) -> None:
    configure_memory_logging(True)

    async def stage(name: str, mine: asyncio.Event, other: asyncio.Event) -> tuple[MemoryTracker, MemoryTracker]:
        async with MemoryTracker(f"{name} outer") as outer:
            async with MemoryTracker(f"{name} inner") as inner:
                mine.set()
                await other.wait()
            await asyncio.sleep(0)
        return outer, inner

    async def main() -> None:
        a, b = asyncio.Event(), asyncio.Event()
        for outer, inner in await asyncio.gather(stage("a", a, b), stage("b", b, a)):
            assert outer.seconds >= inner.seconds > 0

    asyncio.run(main())
    names = [message.partition("]")[0] for message in caplog.messages]
    assert sorted(names) == ["[a inner", "[a outer", "[b inner", "[b outer"]
    assert names.index("[a inner") < names.index("[a outer")


# --- force_cleanup


@pytest.mark.usefixtures("_no_automatic_gc")
def test_a_cycle_is_collected_and_counted() -> None:
    force_cleanup()
    dead = tie()
    assert dead() is not None
    assert force_cleanup() >= 1
    assert dead() is None


@pytest.mark.usefixtures("_no_automatic_gc")
def test_a_young_cleanup_leaves_older_generations() -> None:
    knot = Knot()
    force_cleanup()  # knot is in the oldest generation now
    old = weakref.ref(knot)
    del knot
    young = tie()
    force_cleanup(0)
    assert young() is None
    assert old() is not None
    force_cleanup(2)
    assert old() is None


def test_there_are_three_generations() -> None:
    for generation in (-1, 3):
        with pytest.raises(ValueError, match="generation"):
            force_cleanup(generation)


@pytest.mark.skipif(which_allocator() != "glibc", reason="about glibc")
def test_freed_heap_goes_back_to_the_system() -> None:
    blocks = [bytes(2000) for _ in range(50_000)]
    last = blocks[-1]  # in the way of glibc's own giving back, which is from the end
    del blocks
    before = rss_mb()
    force_cleanup()
    assert before - rss_mb() > 50
    assert len(last) == 2000


@pytest.mark.parametrize("fails", [False, True])
def test_the_cuda_cache_is_emptied_where_there_is_one(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def empty() -> None:
        calls.append(1)
        if fails:
            raise RuntimeError("CUDA error: device lost")

    monkeypatch.setitem(sys.modules, "torch", fake_torch(empty_cache=empty))
    force_cleanup()
    assert calls == [1]


class Door:
    """A lock that tells when somebody stands before it."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.knocks = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.knocks.release()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


class Busy:
    """A cleaner in the middle of a cleanup, which goes on when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cleaner = HeapCleaner()
        self.door = Door(self.cleaner._lock)
        monkeypatch.setattr(self.cleaner, "_lock", self.door)
        monkeypatch.setattr(allocator, "trim", self._trim)
        self.trims, self.running, self.most = 0, 0, 0
        self._inside, self._go_on = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        self.collected: list[int] = []
        self.start()
        assert self._inside.wait(5)

    def _trim(self) -> bool:
        self.trims += 1
        self.running += 1
        self.most = max(self.most, self.running)
        self._inside.set()
        assert self._go_on.wait(5)
        self.running -= 1
        return True

    def start(self, generation: int = 2) -> None:
        """Call from a new thread, which stands before the door when this returns."""
        thread = threading.Thread(target=lambda: self.collected.append(self.cleaner.clean(generation)))
        self.threads.append(thread)
        thread.start()
        assert self.door.knocks.acquire(timeout=5)

    def finish(self) -> None:
        self._go_on.set()
        for thread in self.threads:
            thread.join(5)
            assert not thread.is_alive()


def test_many_at_once_cost_two_cleanups_that_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy(monkeypatch)
    for _ in range(20):
        busy.start()
    busy.finish()
    assert busy.trims == 2
    assert busy.most == 1
    assert len(busy.collected) == 21


@pytest.mark.usefixtures("_no_automatic_gc")
def test_garbage_of_who_comes_late_is_gone_when_its_call_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy(monkeypatch)
    dead = tie()  # the cleanup that runs has collected already
    busy.start()
    busy.start()
    busy.finish()
    assert dead() is None


def test_a_younger_cleanup_does_not_stand_in_for_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Busy(monkeypatch)
    for generation in (0, 0, 2, 2):
        busy.start(generation)
    busy.finish()
    assert busy.trims in {2, 3}  # the lock does not say who is next
    assert busy.cleaner._begun[2] == 2


def test_threads_may_all_clean_up() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for generation in (0, 1, 2):
                tie()
                assert force_cleanup(generation) >= 0
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert errors == []


def test_a_finalizer_may_ask_for_a_cleanup() -> None:
    asked = threading.Event()

    class Asking(Knot):
        def __del__(self) -> None:
            force_cleanup()
            asked.set()

    def work() -> None:
        Asking()
        force_cleanup()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert asked.is_set()


def test_frozen_objects_die_by_reference_and_cycles_when_frozen_anew() -> None:
    out = run("""
import gc, weakref
from app.core.memory_utils import force_cleanup, freeze_heap
class Thing: pass
plain, knot = Thing(), Thing()
knot.itself = knot
plain_ref, knot_ref = weakref.ref(plain), weakref.ref(knot)
frozen = freeze_heap()
print(frozen > 1000, len(gc.get_objects()) < frozen / 10)
del plain, knot
force_cleanup()
print(plain_ref() is None, knot_ref() is None)
freeze_heap()
print(knot_ref() is None)
""")
    assert out.splitlines() == ["True True", "True False", "True"]


# --- decorators


def test_a_tracked_function_logs_under_its_name_or_the_one_given(
    measured: None, caplog: pytest.LogCaptureFixture
) -> None:
    configure_memory_logging(True)

    @memory_tracked
    def plain(a: int, *, b: int = 2) -> int:
        """Docs."""
        return a + b

    @memory_tracked("Audio Processing")
    async def named(a: int) -> int:
        await asyncio.sleep(0)
        return -a

    @memory_tracked()
    def failing() -> None:
        raise ValueError("mine")

    assert plain(1, b=3) == 4
    assert asyncio.run(named(5)) == -5
    with pytest.raises(ValueError, match="mine"):
        failing()
    names = [message.partition("]")[0].rpartition(".")[2].lstrip("[") for message in caplog.messages]
    assert names == ["plain", "Audio Processing", "failing"]
    assert inspect.iscoroutinefunction(named)
    assert list(inspect.signature(plain).parameters) == ["a", "b"]
    assert (plain.__name__, plain.__doc__) == ("plain", "Docs.")


def test_generators_are_refused() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for generator in (numbers, later):
        for decorator in (memory_tracked, memory_tracked("x"), cleanup_after):
            with pytest.raises(TypeError, match="generator"):
                decorator(generator)


@pytest.mark.usefixtures("_no_automatic_gc")
@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_gone_after_the_function(fails: bool) -> None:
    dead: list[weakref.ref[Knot]] = []

    def body() -> int:
        dead.append(tie())
        if fails:
            raise ValueError("mine")
        return 5

    @cleanup_after
    async def body_async() -> int:
        await asyncio.sleep(0)
        return body()

    for call in (cleanup_after(body), lambda: asyncio.run(body_async())):
        if fails:
            with pytest.raises(ValueError, match="mine"):
                call()
        else:
            assert call() == 5
        assert dead.pop()() is None


def test_the_event_loop_goes_on_while_an_async_function_is_cleaned_up_after(monkeypatch: pytest.MonkeyPatch) -> None:
    looped = threading.Event()
    cleaners: list[threading.Thread] = []
    on_cleaning: list[Callable[[], object]] = []

    def trim() -> bool:
        cleaners.append(threading.current_thread())
        on_cleaning[0]()
        return looped.wait(5)  # in vain, if this is the loop's thread

    monkeypatch.setattr(allocator, "trim", trim)

    @cleanup_after
    async def work() -> int:
        return 1

    async def main() -> None:
        cleaning = asyncio.Event()
        on_cleaning.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, cleaning.set))
        task = asyncio.create_task(work())
        await cleaning.wait()
        assert not task.done()
        looped.set()
        assert await task == 1

    asyncio.run(main())
    assert cleaners[0] is not threading.main_thread()
    cleaners[0].join(5)
    assert not cleaners[0].is_alive()  # and holds no arena


def test_a_cancelled_function_is_cleaned_up_after_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = threading.Event()

    def trim() -> bool:
        cleaned.set()
        return True

    monkeypatch.setattr(allocator, "trim", trim)

    @cleanup_after
    async def work() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert cleaned.is_set()
