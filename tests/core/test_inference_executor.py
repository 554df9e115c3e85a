from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

from app.core.errors import AnalysisTimeout, ServiceBusy
from app.core.inference_executor import THREAD_PREFIX, InferenceExecutor


def test_jobs_run_on_threads_of_its_own_and_no_more_than_allowed() -> None:
    async def main() -> None:
        executor = InferenceExecutor(2, 10)
        running, most, names = 0, 0, set()
        lock = threading.Lock()

        def job(number: int) -> int:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            with lock:
                running -= 1
            names.add(threading.current_thread().name)
            return number

        assert await asyncio.gather(*(executor.run(job, number) for number in range(6))) == list(range(6))
        assert most == 2
        assert len(names) == 2
        assert all(name.startswith(THREAD_PREFIX) for name in names)
        assert await executor.close(1)

    asyncio.run(main())


def test_a_job_s_error_is_its_caller_s_and_the_thread_goes_on() -> None:
    async def main() -> None:
        executor = InferenceExecutor(1, 0)
        with pytest.raises(ZeroDivisionError):
            await executor.run(divmod, 1, 0)
        with pytest.raises(TimeoutError, match="mine"):
            await executor.run(_raise, TimeoutError("mine"), timeout=9)
        assert await executor.run(divmod, 7, 2) == (3, 1)
        assert await executor.close(1)

    asyncio.run(main())


def _raise(error: Exception) -> None:
    raise error


def test_places_are_bounded_and_retry_after_grows_with_the_queue() -> None:
    async def main() -> None:
        executor = InferenceExecutor(1, 2)
        assert executor.retry_after() == 1
        await executor.run(time.sleep, 0.6, cancelled=threading.Event())
        with executor.admit(), executor.admit(), executor.admit():
            with pytest.raises(ServiceBusy) as caught, executor.admit():
                pass
            assert caught.value.retry_after == 2  # three places ahead, of 0.6 s each
        assert executor.taken == 0
        assert executor.retry_after() == 1
        assert await executor.close(1)

    asyncio.run(main())


def test_a_place_is_held_until_the_thread_has_ended() -> None:
    async def main() -> None:
        executor = InferenceExecutor(1, 0)
        release, cancelled, cleaned = threading.Event(), threading.Event(), threading.Event()
        with executor.admit() as place:
            place.cleanup.callback(cleaned.set)
            with pytest.raises(AnalysisTimeout):
                await executor.run(release.wait, 10, timeout=0.05, cancelled=cancelled, place=place)
        assert cancelled.is_set()
        assert executor.taken == 1
        assert not cleaned.is_set(), "the thread may still read the recording"
        release.set()
        assert await executor.close(1)
        assert executor.taken == 0
        assert cleaned.is_set()

    asyncio.run(main())


def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    class Recording:
        pass

    async def main() -> None:
        executor = InferenceExecutor(1, 5)
        release = threading.Event()
        ran: list[Recording] = []
        busy = asyncio.create_task(executor.run(release.wait, 10))
        await asyncio.sleep(0.01)
        recording = Recording()
        gone = weakref.ref(recording)
        with executor.admit() as place:
            waiting = asyncio.create_task(executor.run(ran.append, recording, place=place))
            await asyncio.sleep(0.01)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        del waiting, recording
        await asyncio.sleep(0)  # the loop itself holds the error that it has just thrown in here
        gc.collect()
        assert executor.taken == 0
        assert gone() is None, "the recording is held while another one is analysed"
        release.set()
        assert await busy
        assert not ran
        assert await executor.close(1)

    asyncio.run(main())


def test_closing_waits_then_tells_then_gives_up() -> None:
    async def main() -> None:
        patient = InferenceExecutor(1, 0)
        job = asyncio.create_task(patient.run(time.sleep, 0.05))
        await asyncio.sleep(0.01)
        assert await patient.close(5)
        assert job.done()

        told = InferenceExecutor(1, 0)
        cancelled = threading.Event()
        job2 = asyncio.create_task(told.run(cancelled.wait, 10, cancelled=cancelled))
        await asyncio.sleep(0.01)
        assert await told.close(0.05)
        assert await job2

        stuck, release = InferenceExecutor(1, 0), threading.Event()
        job3 = asyncio.create_task(stuck.run(release.wait, 10))
        await asyncio.sleep(0.01)
        assert not await stuck.close(0.01)
        release.set()
        job3.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job3

    asyncio.run(main())
