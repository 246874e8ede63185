"""Deadlines of many entries on one timer: order, cancelling, wake-ups, and what is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import weakref
from typing import Any

import pytest

from tests.conftest import LoopFactory
from tests.drive.linked import exceptions_of
from transport.drive import timers as module
from transport.drive.timers import STALE_MAX, Timers, clock_of, timers_of

MS = 1_000_000
native = pytest.mark.skipif(module._native is None, reason="the timer descriptor needs the syscall module")


class Entry:
    """Something with a deadline, which notes when it was called."""

    def __init__(self, timers: Timers, name: str = "", log: list[str] | None = None) -> None:
        self.armed_at = 0
        self.timers = timers
        self.name = name
        self.log = [] if log is None else log
        self.fired: list[int] = []
        self.again: list[int] = []  # deadlines to arm when called
        self.done = asyncio.Event()

    def timer_fired(self, now: int) -> None:
        assert self.armed_at == 0
        self.fired.append(now)
        self.log.append(self.name)
        if self.again:
            self.timers.arm(self, self.again.pop(0))
        else:
            self.done.set()


class Used:
    """Timers of the running loop while a test uses them, by the descriptor or by the loop's own timer."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if kind == "loop":
            monkeypatch.setattr(module, "_native", None)

    def __enter__(self) -> Timers:
        self.timers = Timers(asyncio.get_running_loop())
        self.timers.acquire()
        return self.timers

    def __exit__(self, *_: object) -> None:
        self.timers.release()


@pytest.fixture(params=["descriptor", "loop"])
def used(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Used:
    if request.param == "descriptor" and module._native is None:
        pytest.skip("the timer descriptor needs the syscall module")
    return Used(request.param, monkeypatch)


@pytest.mark.asyncio
async def test_none_fires_before_its_time(used: Used) -> None:
    with used as timers:
        entries = [Entry(timers) for _ in range(20)]
        start = time.monotonic_ns()
        deadlines = [start + number * MS // 4 for number in range(20)]
        for entry, deadline in zip(entries, deadlines, strict=True):
            timers.arm(entry, deadline)
        assert len(timers) == 20
        for entry in entries:
            await entry.done.wait()
        for entry, deadline in zip(entries, deadlines, strict=True):
            (now,) = entry.fired
            assert now >= deadline
        assert len(timers) == 0


@pytest.mark.asyncio
async def test_they_fire_in_the_order_of_their_deadlines(used: Used) -> None:
    with used as timers:
        log: list[str] = []
        now = time.monotonic_ns()
        late, early, past = Entry(timers, "late", log), Entry(timers, "early", log), Entry(timers, "past", log)
        timers.arm(late, now + 3 * MS)
        timers.arm(early, now + MS)
        timers.arm(past, 1)
        await late.done.wait()
        assert log == ["past", "early", "late"]


@pytest.mark.asyncio
async def test_an_earlier_time_replaces_and_a_later_one_waits(used: Used) -> None:
    with used as timers:
        entry = Entry(timers)
        now = time.monotonic_ns()
        timers.arm(entry, now + 60_000 * MS)
        timers.arm(entry, now + MS)
        assert (entry.armed_at, len(timers)) == (now + MS, 1)
        timers.arm(entry, now + 5000 * MS)
        assert entry.armed_at == now + MS
        await entry.done.wait()
        assert len(entry.fired) == 1


@pytest.mark.asyncio
async def test_what_was_disarmed_never_fires(used: Used) -> None:
    with used as timers:
        gone, kept = Entry(timers), Entry(timers)
        now = time.monotonic_ns()
        timers.arm(gone, now + MS)
        timers.arm(kept, now + 2 * MS)
        timers.disarm(gone)
        timers.disarm(gone)
        assert (gone.armed_at, len(timers)) == (0, 1)
        await kept.done.wait()
        assert gone.fired == []


@pytest.mark.asyncio
async def test_entries_may_disarm_and_rearm_each_other_while_they_fire(used: Used) -> None:
    with used as timers:
        now = time.monotonic_ns()
        victim, moved, last = Entry(timers), Entry(timers), Entry(timers)

        class Meddler(Entry):
            def timer_fired(self, now: int) -> None:
                super().timer_fired(now)
                timers.disarm(victim)
                timers.disarm(moved)
                timers.arm(moved, now + 2 * MS)

        timers.arm(Meddler(timers), now + 1)
        timers.arm(victim, now + 2)
        timers.arm(moved, now + 3)
        timers.arm(last, now + 8 * MS)
        await last.done.wait()
        assert victim.fired == []
        assert len(moved.fired) == 1
        assert moved.fired[0] >= now + 2 * MS


@pytest.mark.asyncio
async def test_a_deadline_in_the_past_goes_round_the_loop(used: Used) -> None:
    """An entry that always wants to be called at once does not keep anybody else from running."""
    with used as timers:
        entry, other = Entry(timers), Entry(timers)
        entry.again = [1] * 50
        timers.arm(entry, 1)
        timers.arm(other, time.monotonic_ns() + MS // 100)
        await entry.done.wait()
        assert len(entry.fired) == 51
        assert other.fired


@pytest.mark.asyncio
async def test_one_that_fails_is_told_and_the_others_fire(used: Used) -> None:
    told = exceptions_of(asyncio.get_running_loop())
    with used as timers:

        class Broken(Entry):
            def timer_fired(self, now: int) -> None:
                raise RuntimeError("broken entry")

        other = Entry(timers)
        timers.arm(Broken(timers), 1)
        timers.arm(other, 2)
        await other.done.wait()
    assert [str(context["exception"]) for context in told] == ["broken entry"]


@pytest.mark.asyncio
async def test_wake_ups_of_a_deadline_are_bounded(used: Used) -> None:
    """Counted, not timed: neither a spin before a deadline nor a wake-up for what was moved or disarmed."""
    wakes = 0
    with used as timers:
        fire = timers._fire

        def counted() -> None:
            nonlocal wakes
            wakes += 1
            fire()

        timers._fire = counted  # type: ignore[method-assign]
        rounds = 30
        for _ in range(rounds):
            entry, moved = Entry(timers), Entry(timers)
            now = time.monotonic_ns()
            timers.arm(entry, now + MS // 3)
            timers.arm(moved, now + 5000 * MS)
            timers.arm(moved, now + 4000 * MS)
            timers.disarm(moved)
            await entry.done.wait()
            assert len(entry.fired) == 1
        assert wakes <= 2 * rounds


@pytest.mark.asyncio
async def test_the_heap_does_not_keep_what_was_cancelled(used: Used) -> None:
    with used as timers:
        now = time.monotonic_ns() + 60_000 * MS
        for number in range(10_000):
            entry = Entry(timers)
            timers.arm(entry, now + number)
            timers.disarm(entry)
        assert len(timers) == 0
        assert len(timers._heap) <= STALE_MAX + 1


@pytest.mark.asyncio
async def test_a_thousand_entries_each_fire_once(used: Used) -> None:
    with used as timers:
        entries = [Entry(timers) for _ in range(1000)]
        now = time.monotonic_ns()
        for number, entry in enumerate(entries):
            timers.arm(entry, now + (number * 7919 % 1000) * 5000)
        for entry in entries:
            await entry.done.wait()
        assert all(len(entry.fired) == 1 for entry in entries)
        assert len(timers._heap) == 0


@pytest.mark.asyncio
async def test_the_last_user_takes_everything_along() -> None:
    loop = asyncio.get_running_loop()
    timers = timers_of(loop)
    assert timers_of(loop) is timers
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    timers.acquire()
    timers.acquire()
    entry = Entry(timers)
    timers.arm(entry, time.monotonic_ns() + 2 * MS)
    timers.release()
    assert timers_of(loop) is timers
    timers.release()
    assert len(timers) == 0
    assert timers_of(loop) is not timers
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    again = timers_of(loop)
    again.acquire()
    other = Entry(again)
    again.arm(other, time.monotonic_ns() + 3 * MS)
    await other.done.wait()
    again.release()
    assert entry.fired == []


def test_timers_do_not_keep_a_loop_alive(loop_factory: LoopFactory) -> None:
    async def use() -> None:
        timers = timers_of(asyncio.get_running_loop())
        timers.acquire()
        entry = Entry(timers)
        timers.arm(entry, 1)
        await entry.done.wait()
        timers.release()

    loop = loop_factory()
    loop.run_until_complete(use())
    loop.close()
    reference: Any = weakref.ref(loop)
    del loop
    gc.collect()
    assert reference() is None


@native
def test_a_loop_that_was_closed_before_its_drivers_leaves_no_descriptor(loop_factory: LoopFactory) -> None:
    loop = loop_factory()
    timers = timers_of(loop)
    before = len(os.listdir("/proc/self/fd"))
    timers.acquire()
    loop.close()
    timers.release()
    assert len(os.listdir("/proc/self/fd")) <= before


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own."""

    def time_ns(self) -> int:
        return 77


def test_a_loop_with_a_clock_of_its_own_is_asked_for_the_time() -> None:
    loop = VirtualLoop()
    assert clock_of(loop)() == 77
    timers = Timers(loop)
    timers.acquire()
    assert timers._fd == -1  # virtual time has no descriptor
    entry = Entry(timers)
    timers.arm(entry, 70)
    loop.run_until_complete(entry.done.wait())
    assert entry.fired == [77]
    timers.release()
    loop.close()
    assert clock_of(asyncio.new_event_loop.__class__) is time.monotonic_ns  # type: ignore[arg-type]
