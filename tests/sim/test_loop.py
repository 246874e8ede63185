"""Ordinary coroutines in virtual time."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transport import limits
from transport.errors import UnsupportedOperation
from transport.sim import loop as module
from transport.sim.clock import SimClock
from transport.sim.errors import Deadlock, SimulationLimit
from transport.sim.loop import POLL_TURNS, STALE_MAX, SimLoop, run
from transport.sim.trace import Trace

START = limits.SECOND_NS


def now() -> int:
    return asyncio.get_running_loop().time_ns() - START


@pytest.fixture(params=[False, True], ids=["plain", "debug"])
def debug(request: pytest.FixtureRequest) -> bool:
    return request.param


def test_sleeps_take_virtual_time_alone(debug: bool):
    order = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        order.append((name, now()))

    async def main() -> str:
        await asyncio.gather(sleeper("day", 86_400), sleeper("ms", 0.001), sleeper("us", 1e-6), sleeper("none", 0))
        return "done"

    assert run(main(), debug=debug) == "done"
    assert order == [("none", 0), ("us", 1000), ("ms", 1_000_000), ("day", 86_400 * 10**9)]


def test_times_outs_events_and_queues(debug: bool):
    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        assert now() == 5 * 10**9
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.25):
                await asyncio.Future()
        assert now() == 5_250_000_000
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for index in range(3):
                await asyncio.sleep(1)
                await queue.put(index)

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            assert [await queue.get() for _ in range(3)] == [0, 1, 2]
        assert now() == 8_250_000_000

    run(main(), debug=debug)


def test_timers_of_one_instant_run_in_the_order_of_the_calls():
    order: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for index in range(50):
            loop.call_at(loop.time() + 1, order.append, index)
        await asyncio.sleep(2)

    run(main())
    assert order == list(range(50))


def test_whole_nanoseconds_survive_the_loop_s_float_seconds():
    fired: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(86_400 * 30)
        for delay in (1, 7, 999_999_999, 123_456_789_123):
            due = loop.time_ns() + delay
            loop.call_at(due / 1e9, lambda due=due: fired.append(loop.time_ns() - due))
            loop.call_later(delay / 1e9, lambda due=due: fired.append(loop.time_ns() - due))
            loop.call_at_ns(due, lambda due=due: fired.append(loop.time_ns() - due))
        await asyncio.sleep(1000)

    run(main())
    assert fired == [0] * 12


def test_a_cancelled_timer_never_fires_and_leaves_no_trace_behind():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(10_000):
            loop.call_later(3600, pytest.fail, "fired").cancel()
            assert len(loop._timers) <= 2 * STALE_MAX + 2
        loop.call_later(3600, pytest.fail, "fired").cancel()
        await asyncio.sleep(1)
        loop.call_later(10, lambda: None)
        await asyncio.sleep(7200)
        assert now() == 7201 * 10**9

    run(main())


def test_a_timer_of_the_past_and_one_of_this_instant_fire_while_the_loop_is_busy():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        fired: list[str] = []
        loop.call_at(0.0, fired.append, "past")
        loop.call_later(0, fired.append, "now")
        for _ in range(3):
            await asyncio.sleep(0)
        assert fired == ["past", "now"]
        assert now() == 0

    run(main())


def test_a_deadlock_is_an_error_that_says_who_waits_where():
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(1.5)
        await asyncio.create_task(waits_for_ever(), name="the culprit")

    with pytest.raises(Deadlock) as caught:
        run(main(), seed=9)
    text = str(caught.value)
    assert "at 2.500000000 s (seed 9)" in text
    assert "2 tasks wait\n  Task-1 in " in text
    assert (
        "the culprit in test_a_deadlock_is_an_error_that_says_who_waits_where.<locals>.waits_for_ever at test_loop.py"
        in text
    )


def test_a_deadlock_of_many_is_short():
    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(100)))

    with pytest.raises(Deadlock, match=r"(?s)101 tasks wait\n  Task-1 .*Task-20 .*\n  and 81 more$"):
        run(main())


def test_a_sleep_without_end_is_a_deadlock():
    async def main() -> None:
        await asyncio.sleep(math.inf)

    with pytest.raises(Deadlock):
        run(main())


def test_after_a_deadlock_cleanup_still_runs_in_virtual_time():
    ended = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            ended.append(now())

    with pytest.raises(Deadlock):
        run(main())
    assert ended == [5 * 10**9]


def test_a_program_that_spins_is_stopped():
    async def main(loop: SimLoop) -> None:
        while loop.time() < 100:
            await asyncio.sleep(0)

    loop = SimLoop(turns_max=1000)
    with pytest.raises(SimulationLimit, match=r"busy with Task-1 .*SIM_LOOP_TICKS_MAX = 1,000 reached"):
        loop.run_until_complete(main(loop))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop._turns_max = limits.SIM_LOOP_TICKS_MAX
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    fresh = SimLoop()
    assert fresh._turns_max == limits.SIM_LOOP_TICKS_MAX
    fresh.close()


def test_timers_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SIM_EVENTS_MAX", 10)

    async def main() -> None:
        for _ in range(11):
            asyncio.get_running_loop().call_later(1, lambda: None)

    with pytest.raises(SimulationLimit, match="timers of a simulated loop"):
        run(main())


# Jobs


def test_time_stands_still_while_a_job_is_under_way(debug: bool):
    release = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ticks: list[int] = []
        loop.call_later(0.001, lambda: ticks.append(now()))
        job = loop.run_in_executor(None, release.wait)
        for _ in range(5):
            await asyncio.sleep(0)
        assert ticks == []
        release.set()
        assert await job is True
        assert now() == 0
        await asyncio.sleep(1)
        assert ticks == [1_000_000]

    run(main(), debug=debug)


def test_results_come_in_the_order_of_the_start():
    order = []

    async def main() -> None:
        finished = [threading.Event() for _ in range(5)]

        def job(index: int) -> int:
            if index < 4:
                finished[index + 1].wait()  # the last one ends first
            finished[index].set()
            return index

        async def waiter(index: int) -> None:
            order.append(await asyncio.to_thread(job, index))

        with ThreadPoolExecutor(5) as pool:
            asyncio.get_running_loop().set_default_executor(pool)
            await asyncio.gather(*(waiter(index) for index in range(5)))

    run(main())
    assert order == [0, 1, 2, 3, 4]


def test_a_job_may_call_into_the_loop():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[str] = []

        async def answer(text: str) -> str:
            await asyncio.sleep(0)
            return text.upper()

        def job() -> str:
            loop.call_soon_threadsafe(calls.append, "called")
            return asyncio.run_coroutine_threadsafe(answer("question"), loop).result()

        assert await asyncio.to_thread(job) == "QUESTION"
        assert calls == ["called"]
        assert now() == 0

    run(main())


def test_a_job_that_waits_for_a_later_one_gets_its_turn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SIM_EXECUTOR_TURN_S", 0.01)

    async def main() -> None:
        first, second = threading.Event(), threading.Event()
        waiting = asyncio.get_running_loop().run_in_executor(None, first.wait)
        ended = asyncio.get_running_loop().run_in_executor(None, second.wait)
        second.set()
        assert await ended
        assert not waiting.done()
        first.set()
        assert await waiting

    run(main())


def test_a_loop_that_is_never_idle_still_gets_results():
    async def main() -> None:
        job = asyncio.get_running_loop().run_in_executor(None, int, "7")
        turns = 0
        while not job.done():
            turns += 1
            await asyncio.sleep(0)
        assert job.result() == 7
        assert limits.SIM_EXECUTOR_TICKS - 5 <= turns <= limits.SIM_EXECUTOR_TICKS + 5

    run(main())


class Custom(Exception):
    pass


def test_what_a_job_raises():
    def fail(error: BaseException) -> None:
        raise error

    async def main() -> None:
        with pytest.raises(Custom):
            await asyncio.to_thread(fail, Custom())
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.to_thread(fail, StopIteration())

    run(main())


def test_a_job_whose_waiter_was_cancelled():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        started, release = threading.Event(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            running = loop.run_in_executor(pool, lambda: (started.set(), release.wait()))
            queued = loop.run_in_executor(pool, pytest.fail, "ran")
            running.cancel()
            queued.cancel()
            started.wait()
            await asyncio.sleep(0)
            assert running.cancelled()
            assert queued.cancelled()
            release.set()
            await asyncio.sleep(1)  # time moves on when the job has ended
        assert not loop._jobs

    run(main())


def test_a_job_cancelled_from_its_pool():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        pool = ThreadPoolExecutor(1)
        running = loop.run_in_executor(pool, release.wait)
        queued = loop.run_in_executor(pool, pytest.fail, "ran")
        pool.shutdown(wait=False, cancel_futures=True)
        release.set()
        assert await running
        with pytest.raises(asyncio.CancelledError):
            await queued

    run(main())


def test_the_default_pool_ends_with_the_loop():
    async def main() -> None:
        assert await asyncio.to_thread(threading.current_thread) is not threading.current_thread()
        loop = asyncio.get_running_loop()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="shutdown"):
            await asyncio.to_thread(int)

    before = threading.active_count()
    run(main())
    assert threading.active_count() == before


def test_a_thread_may_wake_a_loop_with_timers():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        called = asyncio.Event()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(called.set))
        thread.start()
        thread.join()
        await called.wait()

    run(main())


def test_the_wake_up_pipe_is_emptied_even_when_the_loop_is_busy():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[int] = []
        for index in range(3 * POLL_TURNS):
            loop.call_soon_threadsafe(calls.append, index)
            await asyncio.sleep(0)
        assert calls == list(range(3 * POLL_TURNS))

    run(main())


# The loop as a loop


def test_no_real_sockets():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(UnsupportedOperation, match="memory://"):
            await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        with pytest.raises(UnsupportedOperation):
            loop.add_reader(0, print)

    run(main())


async def together(*coroutines: Coroutine[None, None, object]) -> None:
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


def test_exceptions_and_cancellation_are_as_everywhere():
    async def fails() -> None:
        await asyncio.sleep(1)
        raise Custom

    with pytest.raises(Custom):
        run(fails())

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ExceptionGroup):
            await together(asyncio.sleep(1000), fails())
        assert now() == 2 * 10**9

    run(main())


def test_a_group_is_cancelled_in_the_order_in_which_it_was_made():
    async def main() -> list[int]:
        order: list[int] = []

        async def member(index: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append(index)

        async def fails() -> None:
            await asyncio.sleep(1)
            raise Custom

        with pytest.raises(ExceptionGroup):
            await together(*(member(index) for index in range(200)), fails())
        return order

    order = run(main())
    assert len(order) == 200
    assert order == run(main())


def test_names_of_tasks_count_from_one_in_every_loop():
    async def main() -> list[str]:
        other = asyncio.create_task(asyncio.sleep(0))
        await asyncio.create_task(asyncio.sleep(0), name="mine")
        return [task.get_name() for task in (asyncio.current_task(), other)]

    assert run(main()) == run(main()) == ["Task-1", "Task-2"]


def test_clock_seed_and_entropy():
    clock = SimClock(5)
    loop = SimLoop(7, clock=clock)
    assert (loop.time_ns(), loop.time()) == (5, 5e-9)
    other = SimLoop(7)
    assert loop.entropy("a")(8) == other.entropy("a")(8) != other.entropy("b")(8)
    loop.run_until_complete(asyncio.sleep(1))
    assert clock.now_ns == 5 + 10**9
    loop.close()
    other.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)


def test_stop_and_go_on():
    loop = SimLoop()
    loop.call_later(1, loop.stop)
    loop.call_later(2, loop.stop)
    loop.run_forever()
    assert loop.time() == 2.0
    loop.run_forever()
    assert loop.time() == 3.0
    loop.close()


def scenario() -> str:
    """A program with everything that tempts asyncio to follow memory addresses; its trace's digest."""
    trace = Trace()

    async def worker(index: int, queue: asyncio.Queue[int]) -> None:
        for turn in range(3):
            await asyncio.sleep(0.001 * ((index * 7 + turn) % 5))
            await queue.put(await asyncio.to_thread(pow, index, 2))

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(3)
        names = {f"worker {index}" for index in range(20)}
        try:
            async with asyncio.timeout(1), asyncio.TaskGroup() as group:
                for index, name in enumerate(sorted(names)):
                    group.create_task(worker(index, queue), name=name)
                for _ in range(30):
                    await queue.get()
                raise Custom
        except ExceptionGroup:
            pass
        sleeps = [asyncio.create_task(asyncio.sleep(index % 3)) for index in range(20)]
        _, pending = await asyncio.wait(sleeps, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        sleeps += [asyncio.create_task(asyncio.sleep(100)) for _ in range(5)]  # left to the end of the loop

    run(main(), trace=trace)
    return f"{trace.hexdigest()} {trace.count}"


def test_the_order_does_not_depend_on_hash_seeds_or_addresses():
    expected = scenario()
    assert [scenario() for _ in range(3)] == [expected] * 3
    root = Path(module.__file__).parents[2]
    code = "import runpy, sys; kept = [[] for _ in sys.argv[2] * 99]; print(runpy.run_path(sys.argv[1])['scenario']())"
    for hash_seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": hash_seed}
        ran = subprocess.run([sys.executable, "-c", code, __file__, hash_seed], cwd=root, capture_output=True,
                             text=True, check=True, env=environment)  # fmt: skip
        assert ran.stdout.strip() == expected
