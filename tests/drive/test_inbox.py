"""Where messages wait, how a waiting task is woken, and that no cancellation loses a message."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import LoopFactory
from tests.drive.linked import turns
from transport import limits
from transport.drive.inbox import FutureWaiter, Inbox, Waiter, make_waiter
from transport.session import Batch

COST = limits.MESSAGE_COST_BYTES
ORDERED, UNRELIABLE = 0, 3
Make = Callable[[asyncio.AbstractEventLoop], Any]
BOTH = pytest.mark.parametrize("make", [Waiter, FutureWaiter])


def batch(*payloads: bytes, channel: int = 0, delivery: int = ORDERED) -> Batch:
    return Batch(channel, delivery, list(payloads), sum(map(len, payloads)))


def drain(inbox: Inbox) -> list[bytes]:
    found = []
    while (payload := inbox.pop()) is not None:
        found.append(payload)
    return found


# Messages


def test_payloads_leave_in_order_with_what_they_came_by() -> None:
    inbox = Inbox(1 << 20)
    inbox.push(batch(b"a", b"bb", channel=3))
    inbox.push(batch(b"c", delivery=2))
    assert (len(inbox), inbox.size) == (3, 4 + 3 * COST)
    seen = []
    while (payload := inbox.pop()) is not None:
        seen.append((payload, inbox.channel, inbox.delivery))
    assert seen == [(b"a", 3, 0), (b"bb", 3, 0), (b"c", 0, 2)]
    assert (len(inbox), inbox.size) == (0, 0)


def test_a_channel_can_be_taken_out_from_the_middle() -> None:
    inbox = Inbox(1 << 20)
    inbox.push(batch(b"1", b"2", b"3", channel=7))
    inbox.push(batch(b"4", channel=1))
    inbox.push(batch(b"5", channel=7, delivery=UNRELIABLE))
    assert inbox.pop() == b"1"
    other = Inbox(1 << 20)
    for taken in inbox.split(7):
        other.push(taken)
    assert (inbox.size, len(inbox)) == (1 + COST, 1)
    assert (other.size, len(other)) == (3 + 3 * COST, 3)
    assert drain(other) == [b"2", b"3", b"5"]
    assert drain(inbox) == [b"4"]
    assert inbox.size == other.size == 0
    assert inbox.split(7) == []


def test_clear_leaves_an_inbox_like_new() -> None:
    inbox = Inbox(1 << 20)
    inbox.push(batch(b"1", b"2", delivery=UNRELIABLE))
    inbox.pop()
    inbox.clear()
    assert (len(inbox), inbox.size, inbox.pop()) == (0, 0, None)
    inbox.push(batch(b"3"))
    assert drain(inbox) == [b"3"]


def test_above_the_bound_the_oldest_unreliable_messages_go_and_no_reliable_one() -> None:
    inbox = Inbox(100 * (10 + COST))
    for number in range(300):
        inbox.push(batch(b"%010d" % number, delivery=UNRELIABLE))
        inbox.push(batch(b"reliable"))
        assert inbox.size <= 101 * (10 + COST) + (number + 1) * (8 + COST)
    left = drain(inbox)
    assert left.count(b"reliable") == 300
    numbers = [int(payload) for payload in left if payload != b"reliable"]
    assert numbers == list(range(300 - len(numbers), 300))
    assert 50 <= len(numbers) <= 100
    assert inbox.dropped == 300 - len(numbers)


def test_a_batch_of_which_some_was_taken_is_counted_right_when_it_is_dropped() -> None:
    inbox = Inbox(3 * COST)
    inbox.push(batch(b"", b"", b"", delivery=UNRELIABLE))
    assert inbox.pop() == b""
    inbox.push(batch(b"", b"", delivery=UNRELIABLE))
    assert inbox.dropped == 2
    assert drain(inbox) == [b"", b""]
    assert inbox.size == 0


def test_one_batch_above_the_bound_is_kept() -> None:
    inbox = Inbox(10)
    inbox.push(batch(bytes(100), delivery=UNRELIABLE))
    assert drain(inbox) == [bytes(100)]


@pytest.mark.parametrize("size", [0, 1])
def test_a_flood_of_unreliable_messages_of_hardly_any_bytes_is_bounded_and_cheap(size: int) -> None:
    """Each in a batch of its own: neither the memory nor the work for one may grow with the number."""
    inbox = Inbox(limits.UDP_INBOX_BYTES)
    inbox.push(batch(b"reliable"))
    for number in range(100_000):
        inbox.push(batch(bytes(size), channel=number % 2, delivery=UNRELIABLE))
    assert len(inbox) <= limits.UDP_INBOX_BYTES // COST + 1
    assert inbox.pop() == b"reliable"


def test_a_seeded_mix_keeps_its_books(rng: random.Random) -> None:
    for _ in range(60):
        bound = rng.choice((200, 2000))
        inbox, lane = Inbox(bound), Inbox(bound)
        sent: list[bytes] = []
        loose: set[bytes] = set()
        got: list[bytes] = []
        split = False
        for number in range(200):
            payload = b"%d" % number + bytes(rng.randrange(30))
            delivery = rng.choice((0, 1, 2, 3))
            if delivery >= 2:
                loose.add(payload)
            sent.append(payload)
            channel = rng.randrange(2)
            (lane if split and channel else inbox).push(batch(payload, channel=channel, delivery=delivery))
            if not split and rng.random() < 0.01:
                split = True
                for each in inbox.split(1):
                    lane.push(each)
            for box in (inbox, lane):
                if rng.random() < 0.4 and (taken := box.pop()) is not None:
                    got.append(taken)
        got += drain(inbox) + drain(lane)
        assert inbox.size == lane.size == len(inbox) == len(lane) == 0
        assert len(set(got)) == len(got)
        lost = set(sent) - set(got)
        assert lost <= loose
        assert len(lost) == inbox.dropped + lane.dropped


# Waiting


def in_loop(factory: LoopFactory, main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())  # type: ignore[arg-type]


@pytest.mark.asyncio
@BOTH
async def test_a_waiter_is_woken_once_and_for_all(make: Make) -> None:
    loop = asyncio.get_running_loop()
    waiter = make(loop)
    assert not waiter.done()

    async def wait() -> str:
        await waiter
        return "woken"

    task = asyncio.create_task(wait())
    await turns(3)
    assert not task.done()
    waiter.wake()
    assert waiter.done()
    waiter.wake()
    assert await task == "woken"


@pytest.mark.asyncio
@BOTH
async def test_a_waiter_that_was_woken_before_does_not_wait(make: Make) -> None:
    waiter = make(asyncio.get_running_loop())
    waiter.wake()
    await waiter


def test_a_wake_from_a_callback_steps_the_task_at_once(loop_factory: LoopFactory) -> None:
    """The whole point of a Waiter: no trip through the loop between an I/O callback and its reader."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop)
        log: list[str] = []

        async def wait() -> None:
            await waiter
            log.append("reader")

        task = asyncio.create_task(wait())
        await turns(3)
        loop.call_soon(lambda: (log.append("before"), waiter.wake(), log.append("after")))
        await task
        assert log == ["before", "reader", "after"]
        assert waiter.direct

    in_loop(loop_factory, main)


def test_a_wake_from_inside_a_task_never_steps_another_task(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop)
        log: list[object] = []

        async def wait() -> None:
            await waiter
            log.append(asyncio.current_task())

        task = asyncio.create_task(wait())
        await turns(3)
        me = asyncio.current_task()
        waiter.wake()
        assert asyncio.current_task() is me
        assert log == []
        assert not waiter.direct
        await task
        assert log == [task]

    in_loop(loop_factory, main)


@pytest.mark.asyncio
@BOTH
async def test_a_woken_task_runs_in_its_own_context(make: Make) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    loop = asyncio.get_running_loop()
    waiter = make(loop)

    async def wait() -> str:
        variable.set("the task's")
        await waiter
        assert asyncio.current_task() is task
        return variable.get()

    task = asyncio.create_task(wait())
    await turns(3)
    variable.set("the waker's")
    loop.call_soon(waiter.wake)
    assert await task == "the task's"
    assert variable.get() == "the waker's"


@pytest.mark.asyncio
@BOTH
async def test_a_cancelled_wait_ends_with_the_message_of_who_cancelled(make: Make) -> None:
    waiter = make(asyncio.get_running_loop())

    async def wait() -> None:
        await waiter

    task = asyncio.create_task(wait())
    await turns(3)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task
    assert task.cancelled()
    assert waiter.done()
    waiter.wake()


@pytest.mark.asyncio
@BOTH
async def test_a_time_out_around_a_wait(make: Make) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await make(asyncio.get_running_loop())


@pytest.mark.asyncio
@BOTH
async def test_cancelled_after_the_wake_but_before_the_step(make: Make) -> None:
    """The wake is used up, so whoever woke has to leave what it woke for where it was."""
    waiter = make(asyncio.get_running_loop())

    async def wait() -> None:
        await waiter

    task = asyncio.create_task(wait())
    await turns(3)
    waiter.wake()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
@BOTH
async def test_cancelled_before_it_ever_waited(make: Make) -> None:
    waiter = make(asyncio.get_running_loop())

    async def wait() -> None:
        await waiter

    task = asyncio.create_task(wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.asyncio
@BOTH
async def test_a_coroutine_that_is_closed_while_it_waits(make: Make) -> None:
    waiter = make(asyncio.get_running_loop())

    async def wait() -> None:
        await waiter

    coroutine = wait()
    coroutine.send(None)
    coroutine.close()
    waiter.wake()


@pytest.mark.asyncio
async def test_an_exception_thrown_into_a_wait_comes_out_of_it() -> None:
    for thrown in (ValueError("v"), ValueError):
        waiter = Waiter(asyncio.get_running_loop())

        async def wait(waiter: Waiter = waiter) -> None:
            await waiter

        coroutine = wait()
        coroutine.send(None)
        with pytest.raises(ValueError):
            coroutine.throw(thrown)  # type: ignore[call-overload]
        assert waiter.done()


@pytest.mark.asyncio
async def test_a_waiter_looks_like_a_future_where_tasks_look() -> None:
    loop = asyncio.get_running_loop()
    waiter = Waiter(loop)
    assert waiter.get_loop() is loop
    assert (waiter.done(), waiter.cancelled()) == (False, False)
    called: list[Any] = []
    waiter.add_done_callback(called.append)
    assert waiter.remove_done_callback(called.append) == 1
    waiter.wake()
    await turns(2)
    assert called == []
    assert waiter.result() is None
    waiter.exception()
    assert not waiter.cancel()
    waiter.add_done_callback(called.append)  # over already: called in the loop's next round
    await turns(2)
    assert called == [waiter]
    other = Waiter(loop)
    assert other.cancel("why")
    assert other.cancelled()
    with pytest.raises(asyncio.CancelledError, match="why"):
        other.result()
    assert not other.cancel()


def test_loops_in_debug_mode_wait_by_ordinary_futures(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(make_waiter(loop), Waiter)
        loop.set_debug(True)
        assert isinstance(make_waiter(loop), FutureWaiter)
        loop.set_debug(False)

    in_loop(loop_factory, main)


# Both together


def test_a_reader_is_woken_only_for_a_message() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        inbox = Inbox(1000)
        inbox.wake_if_ready()
        inbox.wake()
        waiter = inbox.arm(loop)
        inbox.wake_if_ready()
        assert not waiter.done()
        inbox.push(batch(b"x"))
        inbox.wake_if_ready()
        assert waiter.done()
        assert inbox.waiter is None

    asyncio.run(main())


@pytest.mark.parametrize("debug", [False, True], ids=["waiter", "future"])
def test_cancellations_at_any_moment_lose_nothing(debug: bool, loop_factory: LoopFactory, rng: random.Random) -> None:
    """Readers come and are cancelled before, with and after a message, which comes from a callback or from a task."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        inbox = Inbox(1 << 20)
        got: list[int] = []
        cancelled = 0

        async def recv() -> None:
            payload = inbox.pop()
            while payload is None:
                await inbox.arm(loop)
                payload = inbox.pop()
            got.append(int(payload))

        arrived = itertools.count()

        def arrive() -> None:
            inbox.push(batch(b"%d" % next(arrived)))
            inbox.wake_if_ready()

        total = 1500
        number = 0
        while number < total or len(got) < total:
            task = asyncio.create_task(recv())
            if rng.random() < 0.7:
                await turns(rng.randrange(3))
            for action in rng.sample(["cancel", "callback", "task", "soon"], rng.randrange(4)):
                if action == "cancel":
                    task.cancel()
                elif action == "soon":
                    loop.call_soon(task.cancel)
                elif number < total:
                    if action == "callback":
                        loop.call_soon(arrive)
                    else:
                        arrive()
                    number += 1
                if rng.random() < 0.3:
                    await asyncio.sleep(0)
            await turns(rng.randrange(3))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
        assert got == list(range(total))
        assert cancelled > total // 10

    in_loop(loop_factory, main)


def test_a_waiter_is_used_again_only_when_nobody_holds_it(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        inbox = Inbox(1 << 20)
        used: list[Any] = []
        count = 50

        async def reader() -> None:
            for _ in range(count):
                while inbox.pop() is None:
                    waiter = inbox.arm(loop)
                    assert not waiter.done()
                    used.append(waiter)
                    await waiter

        task = asyncio.create_task(reader())
        await turns(3)
        for number in range(count):
            inbox.push(batch(b"x"))
            if number % 3:
                loop.call_soon(inbox.wake_if_ready)
                await turns(2)
            else:
                inbox.wake_if_ready()
                await turns(2)
        await task
        assert len({id(waiter) for waiter in used}) < len(used)

    in_loop(loop_factory, main)


def test_an_interrupt_in_a_woken_task_comes_out_of_the_loop(loop_factory: LoopFactory) -> None:
    """A direct step must not swallow what ends a program."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop)

        async def wait() -> None:
            await waiter
            raise KeyboardInterrupt("stop")

        task = asyncio.create_task(wait())
        await turns(3)
        loop.call_soon(waiter.wake)
        try:
            await asyncio.sleep(3600)
        finally:
            assert isinstance(task.exception(), KeyboardInterrupt)

    loop = loop_factory()
    with pytest.raises(KeyboardInterrupt, match="stop"):
        loop.run_until_complete(main())
    for task in asyncio.all_tasks(loop):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    loop.close()
