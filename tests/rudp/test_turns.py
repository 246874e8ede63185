"""Turns on a socket that sessions share, and the heap of their deadlines."""

from __future__ import annotations

import random

from transport.machine import Path
from transport.rudp.turns import HEAP_SPARE, Exchange, TurnSession


class Session(TurnSession):
    """One whose deadline is what a test says."""

    at = 0

    def due(self) -> int:
        return self.at


def made(count: int) -> tuple[Exchange, list[Session]]:
    exchange = Exchange()
    return exchange, [Session(exchange, Path(None, index)) for index in range(count)]


def test_who_is_due_is_woken_in_order() -> None:
    exchange, (a, b, c) = made(3)
    for session, at in ((a, 30), (b, 10), (c, 20)):
        session.at = at
        exchange.arm(session)
    assert exchange.first_due() == 10
    assert exchange.pop_due(9) is None
    assert exchange.pop_due(30) is b
    assert exchange.pop_due(30) is c
    assert exchange.first_due() == 30
    assert exchange.pop_due(30) is a
    assert exchange.pop_due(1000) is None
    assert exchange.first_due() == 0


def test_a_deadline_that_has_moved_later_wakes_later() -> None:
    exchange, (a,) = made(1)
    a.at = 10
    exchange.arm(a)
    a.at = 50
    exchange.arm(a)  # the earlier stands, and is looked at when it comes
    assert exchange.first_due() == 10
    assert exchange.pop_due(10) is None
    assert exchange.first_due() == 50
    assert exchange.pop_due(50) is a


def test_a_deadline_that_has_moved_earlier_wakes_earlier() -> None:
    exchange, (a,) = made(1)
    a.at = 50
    exchange.arm(a)
    a.at = 10
    exchange.arm(a)
    assert exchange.pop_due(20) is a
    a.at = 0
    assert exchange.pop_due(60) is None
    assert exchange.first_due() == 0


def test_never_is_not_armed() -> None:
    exchange, (a,) = made(1)
    exchange.arm(a)
    assert exchange.first_due() == 0
    a.at = 5
    exchange.arm(a)
    a.at = 0
    assert exchange.pop_due(10) is None
    assert a.armed_at == 0


def test_the_heap_stays_small(rng: random.Random) -> None:
    """Sessions that are woken soon again and again leave no deadlines of long ago behind."""
    exchange, sessions = made(20)
    now = 0
    for turn in range(20_000):
        session = sessions[turn % 20]
        now += 1000
        session.at = now + rng.randrange(10, 900)  # an ack
        exchange.arm(session)
        woken = exchange.pop_due(now + 1000)
        if woken is not None:
            assert isinstance(woken, Session)
            woken.at = now + 15_000_000_000  # until the next ping
            exchange.arm(woken)
        assert len(exchange._heap) <= 4 * 20 + 2 * HEAP_SPARE
    ends = [session.at for session in sessions if session.at]
    exchange.pop_due(0)
    assert exchange.first_due() == min([session.armed_at for session in sessions if session.armed_at])
    assert min(ends) >= exchange.first_due()


def test_every_session_is_woken_once(rng: random.Random) -> None:
    exchange, sessions = made(500)
    for session in sessions:
        for _ in range(3):
            session.at = rng.randrange(1, 10_000)
            exchange.arm(session)
    woken = []
    for now in range(0, 10_001, 100):
        while (session := exchange.pop_due(now)) is not None:  # type: ignore[assignment]
            assert session.at <= now
            session.at = 0
            woken.append(session)
    assert len(woken) == len(set(map(id, woken))) == 500


def test_turns_go_round() -> None:
    exchange, (a, b, c) = made(3)
    for session in (a, b, c, b):
        session.want()
    order = []
    while exchange._first is not None if hasattr(exchange, "_first") else len(order) < 3:
        assert any(session.is_turn for session in (a, b, c))
        order.append(next(session for session in (a, b, c) if session.is_turn and session not in order))
        exchange.turn_over()
    assert order == [a, b, c]
    assert not any(session.is_turn for session in (a, b, c))
    b.want()
    assert b.is_turn
    exchange.turn_over()
    assert not b.is_turn
