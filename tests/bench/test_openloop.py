"""Open loops in real processes, and the parts that keep to the plan."""

from __future__ import annotations

import asyncio
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest

from bench.cases import Case, open_loop
from bench.link.emulator import EmulatorFailed
from bench.link.model import Link
from bench.message import HEADER
from bench.native_build import BuildFailed
from bench.openloop import (
    AWAKE_NS,
    MAKING_NS_A_BYTE,
    SPIN_NS,
    UNDATED,
    Alarm,
    Arrivals,
    Backlog,
    LoopPacer,
    Mailbox,
    OpenLoop,
    load_arrivals,
    load_late,
    nap,
    own_lateness,
    pace_blocking,
)
from bench.peers import all_peers
from bench.peers.base import Peer
from bench.runner import Entry, Plan, run_round
from bench.schedule import make_schedule
from tests.bench.broken_peers import PEERS as BROKEN

BROKEN_PEERS = {peer.name: peer for peer in BROKEN}


class NoWindow:
    """Stands in for the look at the kernel's counters."""

    def begin(self) -> None:
        self.begun = True

    def end(self) -> None:
        self.ended = True


def load_of(case: Case, seconds: float = 0.1) -> OpenLoop:
    window: Any = NoWindow()
    return OpenLoop(make_schedule(case, seconds, 0.05, 1), 1, window)


def one_round(case: Case, peer: Peer) -> dict[str, Any]:
    plan = Plan([(case, [Entry(peer.name, peer)])], 1, 0.3, 0.1, 3)
    return run_round(plan, case, plan.work[0][1][0], 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["blocking-tcp", "blocking-udp", "asyncio-streams", "asyncio-protocol", "asyncio-udp", "tcp", "tcp-coro",
             "udp", "rudp", "rudp-coro", "rudp-unordered", "rudp-sequenced", "rudp-unreliable", "rudp-ordered-once"],
)  # fmt: skip
def test_every_message_arrives_dated(name: str) -> None:
    item = one_round(open_loop(64, 100, 3), all_peers()[name])
    assert item["status"] in ("OK", "INVALID"), item["why"]  # INVALID: this machine was busy, which is no fault of ours
    assert item["open"]["planned"] == 90
    assert item["open"]["lost"] == 0
    assert item["open"]["swapped"] == item["open"]["doubled"] == 0
    assert item["latency"]["n"] == 90
    assert item["latency"]["min_ns"] > 0


@pytest.mark.parametrize("name", ["losing", "crashing"])
def test_a_peer_that_fails_is_kept_as_such(name: str) -> None:
    item = one_round(open_loop(64, 100, 1), BROKEN_PEERS[name])
    assert item["status"] == "FAIL"
    assert item["why"]


def test_a_message_that_nobody_sent_is_a_failure_of_its_peer() -> None:
    item = one_round(open_loop(64, 100, 1), BROKEN_PEERS["inventing"])
    assert item["status"] == "FAIL"
    assert item["why"].startswith(f"receiver: message {1 << 30} of ")


def test_a_peer_that_takes_no_connection_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its receiver has no count to tell; `expected` is None for it, so that the test need not wait for stragglers."""
    monkeypatch.setattr(BROKEN_PEERS["deaf"], "reliable", False)
    item = one_round(open_loop(64, 100, 1), BROKEN_PEERS["deaf"])
    assert (item["status"], item["why"]) == ("FAIL", "none of 30 messages has arrived")


class DeadLink:
    """Stands in for an emulator whose router has died, over loopback."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> DeadLink:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def host(self, _side: str) -> str:
        return "127.0.0.1"

    def namespace(self, _side: str) -> None:
        return None

    def report(self) -> None:
        raise EmulatorFailed("the router is gone")


def test_a_link_that_dies_is_no_failure_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.link.emulator.Emulator", DeadLink)
    item = one_round(open_loop(64, 100, 1, link=Link(delay_ms=5)), BROKEN_PEERS["crashing"])
    assert (item["status"], item["why"]) == ("INVALID", "the router is gone")


def test_a_link_that_does_not_start_is_no_failure_of_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (EmulatorFailed("no"), BuildFailed("no"), OSError("no")):
        monkeypatch.setattr(DeadLink, "__enter__", raising(error))
        monkeypatch.setattr("bench.link.emulator.Emulator", DeadLink)
        item = one_round(open_loop(64, 100, 1, link=Link(delay_ms=5)), all_peers()["tcp"])
        assert (item["status"], item["why"]) == ("INVALID", "no")


def raising(error: Exception) -> Any:
    def enter(_self: object) -> None:
        raise error

    return enter


def test_what_comes_while_arrivals_are_written_changes_nothing(tmp_path: Path) -> None:
    """`take` runs in another thread: the number may be there and the latency not yet."""
    got = Arrivals(fail)
    for number in range(3):
        got.numbers.append(number)
        got.latencies.append(1000 + number)
    got.numbers.append(3)
    got.save(tmp_path / "arrivals")
    numbers, latencies = load_arrivals(tmp_path / "arrivals")
    assert list(numbers) == [0, 1, 2]
    assert list(latencies) == [1000, 1001, 1002]


def test_messages_leave_in_the_order_of_the_plan_and_not_before() -> None:
    load = load_of(open_loop(100, 200, 3))
    sent: list[tuple[int, bytes, int]] = []
    load.begin([lambda message, at=at: sent.append((at, message, perf_counter_ns())) for at in range(3)])
    loop = asyncio.new_event_loop()
    try:
        done = loop.create_future()
        LoopPacer(loop, load, lambda: done.set_result(None)).start()
        loop.run_until_complete(done)
    finally:
        loop.close()
    assert load.is_done
    assert len(sent) == len(load.schedule)
    assert [where for where, _, _ in sent] == list(load.schedule.connection)
    assert min(load.busy) >= 0
    for number, (_, message, when) in enumerate(sent):
        checksum, named, due = HEADER.unpack_from(message)
        assert (named, due) == (number, load.start + load.schedule.due[number])
        assert checksum == zlib.crc32(message[4:])
        assert len(message) == 100
        assert when >= due
        assert load.late[number] >= 0
    window: Any = load.window
    assert window.begun
    assert window.ended


def test_a_message_that_is_not_made_before_the_start_is_made_before_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones take milliseconds; nobody may be waked when it is too late for that, nor spin for what is left."""
    monkeypatch.setattr("bench.openloop.PREPARED_BYTES_MAX", 0)
    size = 1 << 20
    load = load_of(open_loop(size, 100, 1))
    sent: list[bytes] = []
    load.begin([sent.append])
    due = load.start + load.schedule.due[0]
    assert load.awake_at() == due - AWAKE_NS - MAKING_NS_A_BYTE * size
    assert load.make_next()
    assert not load.make_next()
    assert load.awake_at() == due - AWAKE_NS
    load.send_next()
    load.send_next()  # also without having been made
    assert [HEADER.unpack_from(message)[1] for message in sent] == [0, 1]
    got = Arrivals(fail)
    for message in sent:
        got.take(message)
    assert got.bytes == 2 * size


@pytest.mark.parametrize("drive", ["loop", "blocking"])
def test_all_is_sent_where_messages_are_made_when_due(drive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.openloop.PREPARED_BYTES_MAX", 0)
    load = load_of(open_loop(1 << 16, 100, 1))
    got = Arrivals(fail)
    load.begin([got.take])
    if drive == "blocking":
        pace_blocking(load, nap)
    else:
        loop = asyncio.new_event_loop()
        try:
            done = loop.create_future()
            LoopPacer(loop, load, lambda: done.set_result(None)).start()
            loop.run_until_complete(done)
        finally:
            loop.close()
    assert list(got.numbers) == list(range(len(load.schedule)))
    assert min(load.busy) >= 0


class Clock:
    """Stands still unless it is told, or looked at: a nanosecond a look, so that spinning ends."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1
        return self.now


class StillLoop:
    """Keeps what it is to call, for a test that makes the turns."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def add_reader(self, _fd: int, call: Callable[[], None]) -> None:
        self.rung = call

    def call_soon(self, call: Callable[[], None]) -> None:
        self.soon.append(call)

    def turn(self) -> None:
        """What was to be called, once."""
        calls, self.soon = self.soon, []
        for call in calls:
            call()


def test_a_sender_sleeps_then_lets_its_loop_turn_then_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sleeps to the end is late; whoever spins for long holds up what its peer has to do meanwhile."""
    clock = Clock(1)
    monkeypatch.setattr("bench.openloop.perf_counter_ns", clock)
    load = load_of(open_loop(64, 100, 1))
    sent: list[int] = []
    load.begin([lambda _message: sent.append(clock.now)])
    loop: Any = StillLoop()
    alarms: list[int] = []
    monkeypatch.setattr(Alarm, "set", lambda _self, at: alarms.append(at))
    pacer = LoopPacer(loop, load, lambda: None)
    due = load.start + load.schedule.due[0]
    pacer.start()
    assert (alarms, loop.soon, sent) == ([due - AWAKE_NS], [], [])
    clock.now = due - AWAKE_NS
    loop.rung()
    for _ in range(3):
        assert len(loop.soon) == 1
        loop.turn()
    assert (len(alarms), sent) == (1, [])
    clock.now = due - SPIN_NS
    loop.turn()
    assert len(sent) == 1
    assert sent[0] >= due
    handed = clock.now
    clock.now += 7000  # the turn takes so long
    loop.turn()
    assert 7000 < load.busy[0] <= clock.now - handed + 10
    assert alarms[1:] == [load.start + load.schedule.due[1] - AWAKE_NS]
    assert loop.soon == []
    pacer._alarm.close()


def test_a_blocking_peer_works_until_a_message_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1)
    monkeypatch.setattr("bench.openloop.perf_counter_ns", clock)
    load = load_of(open_loop(64, 10, 1))
    polled: list[tuple[float, int]] = []

    def poll(seconds: float) -> None:
        polled.append((seconds, clock.now))
        clock.now += int(seconds * 1e9) + 10_000

    load.begin([lambda _message: None])
    pace_blocking(load, poll)
    for number, at in enumerate(load.schedule.due):
        due = load.start + at
        assert not [when for seconds, when in polled if seconds and due - AWAKE_NS < when < due]
        assert len([when for _, when in polled if due - AWAKE_NS <= when < due - SPIN_NS]) >= 10
        assert load.late[number] < 100
        assert 10_000 <= load.busy[number] < 10_100


def columns(*rows: tuple[int, int, int]) -> tuple[array[int], array[int], array[int]]:
    """(due, late, busy) of each message, as columns."""
    due, late, busy = zip(*rows, strict=True)
    return array("q", due), array("q", late), array("q", busy)


def test_a_peer_that_is_still_busy_makes_its_own_messages_late() -> None:
    """20 us apart, and each keeps the sender for 30: the generator is not to blame."""
    assert list(own_lateness(*columns(*((20 * n, 10 * n, 30) for n in range(50))))) == [0] * 50


def test_a_sender_that_stalls_answers_for_all_that_it_delays() -> None:
    """It slept through 100 us; the peer takes 5 of the 20 between two messages, so that it catches up by 15 each."""
    late = [0, 100, 85, 70, 55, 40, 25, 10, 0, 0]
    assert list(own_lateness(*columns(*((20 * n, late[n], 5) for n in range(10))))) == late


def test_a_sender_that_stalls_answers_for_its_own_part_alone() -> None:
    """The peer is late by itself, 30 us for each 20; 100 us come on top and stay."""
    late = [10 * n + (100 if n >= 5 else 0) for n in range(20)]
    own = own_lateness(*columns(*((20 * n, late[n], 30) for n in range(20))))
    assert list(own) == [0] * 5 + [100] * 15


def test_a_message_that_was_not_handed_over_has_no_lateness() -> None:
    assert list(own_lateness(*columns((0, 0, UNDATED), (20, UNDATED, UNDATED), (40, 3, 5)))) == [0, UNDATED, 3]
    assert list(own_lateness(array("q"), array("q"), array("q"))) == []


def test_arrivals_are_dated_checked_and_kept(tmp_path: Path) -> None:
    load = load_of(open_loop(64, 200, 1))
    got = Arrivals(fail)
    load.begin([got.take])
    while not load.is_done:
        load.send_next()
    got.save(tmp_path / "arrivals")
    load.save(tmp_path / "late")
    numbers, latencies = load_arrivals(tmp_path / "arrivals")
    assert list(numbers) == list(range(len(load.schedule)))
    late, busy = load_late(tmp_path / "late")
    assert list(busy) == [UNDATED] * len(late)  # nobody said when the peer was done
    assert all(latency >= delay >= 0 for latency, delay in zip(latencies, late, strict=True))
    whole = load.message(1)
    for damaged in (whole[:-1], whole[:5] + b"x" + whole[6:], b"", whole + b"x"):
        with pytest.raises(RuntimeError, match="damaged"):
            got.take(damaged)


def fail(why: str) -> None:
    raise RuntimeError(why)


def test_an_alarm_goes_off_when_it_should() -> None:
    loop = asyncio.new_event_loop()
    alarm = Alarm()
    at = perf_counter_ns() + 3_000_000
    try:
        rung = loop.create_future()
        loop.add_reader(alarm.fd, lambda: rung.done() or rung.set_result(perf_counter_ns()))
        alarm.set(at)
        assert loop.run_until_complete(rung) >= at
        alarm.clear()
        alarm.clear()  # nothing is left, which is no error
    finally:
        loop.remove_reader(alarm.fd)
        alarm.close()
        loop.close()


def test_a_backlog_keeps_the_order_through_a_full_buffer() -> None:
    room, sent = 2, []

    def send(message: bytes) -> None:
        if len(sent) >= room:
            raise BlockingIOError
        sent.append(message)

    backlog = Backlog(BlockingIOError)
    backlog.send = send
    messages = [bytes([at]) for at in range(6)]
    for message in messages[:4]:
        backlog.put(message)
    assert sent == messages[:2]
    room = 3
    backlog.resume()
    assert sent == messages[:3]
    for message in messages[4:]:
        backlog.put(message)
    assert sent == messages[:3]
    room = 9
    backlog.resume()
    assert sent == messages


@pytest.mark.asyncio
async def test_a_mailbox_sends_in_order_and_tells_of_a_failure() -> None:
    loop = asyncio.get_running_loop()
    sent: list[bytes] = []
    told = loop.create_future()

    async def send_many(messages: list[bytes]) -> None:
        await asyncio.sleep(0)
        if messages == [b"bad"]:
            raise ConnectionError("gone")
        sent.extend(messages)

    mailbox = Mailbox(loop, send_many, told.set_result)
    for at in range(5):
        mailbox.put(bytes([at]))
    mailbox.put(b"bad")
    assert await told == "sending failed: ConnectionError: gone"
    await mailbox.task
    assert sent == [bytes([at]) for at in range(5)]
