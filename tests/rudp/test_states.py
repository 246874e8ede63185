"""The life of a connection: every row of the table is walked by real sessions, everything else is refused."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.rudp.by_hand import CRC32_ONLY, KEY, MS, Hand, Rig, close_frame
from tests.walks import walked
from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.states import ALIVE, LIFE, PUBLIC, Life, On
from transport.session import SessionState
from transport.states import IllegalTransition

NOWHERE = Path(None, ("192.0.2.99", 1))
PAIRS = {(state, row.event): row.then for row in LIFE.rows for state in row.states}
OPTIONS: dict[On, dict[str, Any]] = {On.SILENCE: {"idle_ns": 100 * MS}, On.CROWDED: {"half_open_max": 1}}
LOST_FOR_GOOD = 60_000


class World:
    """One connection, brought into a state, to which something then happens.

    Attributes:
        session: the client's, or what the server keeps of one that is half-open.
    """

    def __init__(self, event: On) -> None:
        self.rig = Rig(**OPTIONS.get(event, {}))
        self.session: Any = self.rig.honest
        self.hand = Hand(self.rig, opens=False)
        self.rig.wait(50)

    def cut(self) -> None:
        """Nothing arrives any more."""
        self.rig.drops = lambda data, by_client: True

    def short(self, frames: bytes) -> None:
        """The client gets an ordinary packet."""
        cid = self.session.own_cid
        data = bytes([packet.FIXED_BIT | 3]) + cid.to_bytes(8, "big") + (1000).to_bytes(4, "big") + frames
        self.datagram(data + zlib.crc32(data, cid & 0xFFFFFFFF).to_bytes(4, "big"))

    def datagram(self, data: bytes) -> None:
        """The client gets a datagram; nobody has looked at the end, if it is one."""
        self.rig.client.receive(data, self.session.path, 0, self.rig.now)


def connects(world: World) -> None:
    world.session = world.rig.client.connect(NOWHERE, world.rig.now)
    world.rig.settle()


def half_opens(world: World) -> None:
    world.hand.hello()
    ((world.hand.peer_cid, world.session),) = world.rig.server._half_open.items()


def flushes(world: World) -> None:
    world.cut()
    world.session.send(b"last words", 0, 0, 0, 0, world.rig.now)
    world.session.close(3, "bye", world.rig.now)
    world.rig.settle()


def closes(world: World) -> None:
    world.cut()
    world.session.close(3, "bye", world.rig.now)
    world.rig.settle()


def aborts(world: World) -> None:
    world.session.abort(5, "enough", world.rig.now)


def aborts_and_is_left(world: World) -> None:
    aborts(world)
    world.cut()
    world.rig.settle()


REACHED: dict[Life, Callable[[World], None]] = {
    Life.NEW: lambda world: None,
    Life.OPENING: connects,
    Life.HALF_OPEN: half_opens,
    Life.OPEN: lambda world: None,
    Life.FLUSHING: flushes,
    Life.CLOSING: closes,
    Life.CLOSED: aborts,
    Life.LINGERING: aborts_and_is_left,
}


def crowds(world: World) -> None:
    if world.session.life == Life.HALF_OPEN:
        Hand(world.rig, port=6, opens=False).hello()
        return
    for _ in range(limits.RUDP_CLOSED_MAX):
        other = world.rig.client.connect(NOWHERE, world.rig.now)
        other.abort(0, "", world.rig.now)
        world.rig.client.forget(other)


def hears_again(world: World) -> None:
    world.rig.drops = None
    world.rig.wait(5000)


def proves(world: World) -> None:
    world.hand.say(bytes([packet.PING]))
    world.session = world.hand.session


def waits(ms: int) -> Callable[[World], None]:
    return lambda world: world.rig.wait(ms)


def goes_silent(world: World) -> None:
    world.cut()
    world.rig.wait(LOST_FOR_GOOD)


HAPPENS: dict[On, Callable[[World], None]] = {
    On.CONNECT: connects,
    On.HELLO: half_opens,
    On.LATE: waits(400),
    On.RETRY: lambda world: world.datagram(packet.encode_retry(world.session.own_cid, b"cookie")),
    On.ACCEPT: lambda world: world.datagram(packet.encode_accept(world.session.own_cid, 7, packet.Parameters())),
    On.REFUSE: lambda world: world.datagram(packet.encode_refuse(world.session.own_cid, 42, "no", ())),
    On.TIMEOUT: waits(11_000),
    On.PROOF: proves,
    On.CROWDED: crowds,
    On.SHUT: lambda world: world.session.close(0, "", world.rig.now),
    On.ABORT: aborts,
    On.FLUSHED: hears_again,
    On.CLOSE_LATE: waits(100),
    On.UNANSWERED: waits(10_000),
    On.CLOSE: lambda world: world.short(close_frame(0)),
    On.RULE: lambda world: world.short(b"\x04"),
    On.SILENCE: goes_silent,
    On.RESET: lambda world: world.datagram(b"\x40" + bytes(21) + world.rig.server.token_of(world.session.peer_cid)),
    On.PACKET: lambda world: world.short(bytes([packet.PING])),
    On.LEFT: lambda world: world.rig.settle(),
    On.LINGERED: waits(10_000),
}


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=[f"{state.name}-{event.name}" for state, event in PAIRS])
def test_every_row_is_walked(state: Life, event: On, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(event)
    REACHED[state](world)
    if state != Life.NEW:
        assert world.session.life == state
    walk = walked(LIFE, monkeypatch)
    HAPPENS[event](world)
    assert (state, event, PAIRS[state, event]) in walk
    for session in [*world.rig.client.sessions.values(), *world.rig.server.sessions.values()]:
        assert session.state == PUBLIC[session.life]


def test_every_other_pair_is_refused() -> None:
    """A session stays where it is."""
    session: Any = Rig().honest
    refused = 0
    for state in Life:
        for event in On:
            if (state, event) in PAIRS:
                continue
            session.life = state
            with pytest.raises(IllegalTransition, match=f"a connection in state {state.name} can't have {event.name}"):
                session.step(event)
            assert session.life == state
            refused += 1
    assert refused == len(Life) * len(On) - len(PAIRS)


def test_a_life_only_moves_forward() -> None:
    for row in LIFE.rows:
        for state in row.states:
            assert row.then >= state
            assert PUBLIC[row.then] >= PUBLIC[state]
    assert {row.event for row in LIFE.rows} == set(On) == set(LIFE.described)
    assert {row.then for row in LIFE.rows} == set(Life) - {Life.NEW}


def test_what_those_above_see() -> None:
    assert len(PUBLIC) == len(Life)
    assert PUBLIC[Life.NEW] == PUBLIC[Life.OPENING] == SessionState.OPENING
    assert [PUBLIC[state] for state in ALIVE] == [SessionState.OPEN, *[SessionState.CLOSING] * 2]


def test_an_opening_client_takes_no_ordinary_packets() -> None:
    """Not even one that says CLOSE: its sender has answered no HELLO."""
    world = World(On.CONNECT)
    connects(world)
    cid = world.session.own_cid.to_bytes(8, "big")
    for number, frames in enumerate([close_frame(7), b"\x04", bytes([packet.MSG, 0, 0]) + b"early"]):
        world.datagram(b"\x40" + cid + bytes([number]) + frames)
    world.short(close_frame(7))
    world.rig.settle()
    assert world.session.life == Life.OPENING
    assert not world.session.take()
    assert not world.session.events()


def test_a_damaged_packet_after_the_end_gets_no_answer() -> None:
    world = World(On.CLOSE)
    hand = Hand(world.rig, port=6)
    hand.say(close_frame(0))
    damaged = bytearray(hand.packet(bytes([packet.PING])))
    damaged[-1] ^= 1
    assert not world.rig.receive(bytes(damaged), hand.address)
    assert not hand.say(bytes([packet.PING]), number=0)
    assert len(hand.say(bytes([packet.PING]))) == 1


def test_who_leaves_twice_lingers_once() -> None:
    endpoint = RudpEndpoint(RudpConfig(codec="raw", **CRC32_ONLY), lambda count: bytes(range(1, count + 1)), False, KEY)
    session = endpoint.connect(NOWHERE, MS)
    endpoint.forget(session)
    until = session.linger_until
    endpoint.receive(b"", NOWHERE, 0, 2 * MS)
    endpoint.forget(session)
    assert session.life == Life.LINGERING
    assert session.linger_until == until
