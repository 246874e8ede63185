"""Who is let in, and how fast: one peer that comes again and again holds up nobody but those at its own address."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from tests.events.test_restored import frame
from transport import limits
from transport.events import Events, Refused, door, envelope
from transport.events.door import Door, Limiter, address_of
from transport.events.testing import Kit

HELLO = envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, []))


def test_the_limiter() -> None:
    limiter = Limiter(limits.EVENTS_RESUMES_PER_S, limits.EVENTS_RESUMES_BURST)
    assert sum([limiter.allow(5.0) for _ in range(2000)]) == limits.EVENTS_RESUMES_BURST
    assert sum([limiter.allow(6.0) for _ in range(2000)]) == limits.EVENTS_RESUMES_PER_S
    assert sum([limiter.allow(5.0) for _ in range(2000)]) == 0, "a clock that goes back gives nothing"
    assert [door.retry_ms(share) for share in (0.0, 1.0)] == [
        limits.EVENTS_RETRY_S * 500,
        limits.EVENTS_RETRY_S * 1500,
    ]


def test_new_sessions_and_rooms_of_one_address_do_not_fill_a_log() -> None:
    """A session is kept for twice EVENTS_SESSION_S, with a stream of its own; a room that nobody uses for longer."""
    sessions = limits.EVENTS_RESUMES_BURST + limits.EVENTS_RESUMES_PER_S * 2 * limits.EVENTS_SESSION_S
    rooms = limits.EVENTS_NEW_ROOMS_BURST + limits.EVENTS_NEW_ROOMS_PER_S * limits.LOG_FORGET_MS / 1000
    assert sessions < limits.LOG_SESSIONS_MAX
    assert sessions + rooms < limits.LOG_STREAMS_MAX


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1234, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:0db8:0001:0002"),
        (("2001:db8:1:2::", 1, 0, 0), "2001:0db8:0001:0002"),
        (("fe80::1%eth0", 1, 0, 2), "fe80:0000:0000:0000"),
        (("name", 3), "name"),
        ("", ""),
        (None, ""),
        ("/run/socket", ""),
        ((), ""),
    ],
)
def test_what_counts_as_one_peer(remote: Any, address: str) -> None:
    assert address_of(remote) == address


def let_in(made: Door, address: str, tries: int, now: float) -> int:
    """How many of these are let in, one after the other."""
    count = 0
    for _ in range(tries):
        if made.enter(address, now):
            made.entered(address)
            count += 1
    return count


def test_each_address_has_its_own_share() -> None:
    made = Door(limits.EVENTS_RESUMES_PER_S)
    assert let_in(made, "flood", 100_000, 5.0) == limits.EVENTS_RESUMES_BURST
    assert let_in(made, "other", 500, 5.0) == 500
    for second in range(6, 30):
        assert let_in(made, "flood", 10_000, second) == limits.EVENTS_RESUMES_PER_S
        assert let_in(made, "other", 50, second) == 50


def test_all_of_them_together() -> None:
    made = Door(limits.EVENTS_RESUMES_PER_S)
    shares = [let_in(made, str(number), 2000, 5.0) for number in range(10)]
    assert sum(shares) == limits.EVENTS_RESUMES_ALL_BURST
    assert sum([let_in(made, f"new {number}", 2000, 6.0) for number in range(10)]) == limits.EVENTS_RESUMES_ALL_PER_S
    fast = Door(10 * limits.EVENTS_RESUMES_ALL_PER_S)
    let_in(fast, "a", 10_000, 5.0)
    assert let_in(fast, "a", 10_000, 6.0) == limits.EVENTS_RESUMES_BURST


def test_what_is_remembered_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not seen for longest is forgotten. Who takes its place has what it left, no burst of its own."""
    monkeypatch.setattr(limits, "EVENTS_ADDRESSES_MAX", 3)
    monkeypatch.setattr(limits, "EVENTS_RESUMES_BURST", 2)
    made = Door(0.001)
    for address in "abca":
        made.enter(address, 5.0)
    for number in range(2):
        made.enter(f"new {number}", 5.0)
        assert len(made._clients) == 3
    assert let_in(made, "a", 5, 5.0) == 0
    assert let_in(made, "b", 5, 5.0) == 0
    assert [let_in(made, f"more {number}", 5, 5.0) for number in range(5)] == [0, 0, 0, 0, 0]
    assert sum([let_in(made, f"later {number}", 5, 5000.0) for number in range(5)]) == 6, "three places have refilled"
    assert made.waiting == 6, "who waits is counted all the same"
    for address in ("a", "a", "b", "c", "new 0", "new 1"):
        made.entered(address)
    assert (made.waiting, dict(made._waiting)) == (0, {})


def test_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_WAITING_HELLOS_MAX", 25)
    monkeypatch.setattr(limits, "EVENTS_WAITING_HELLOS_ADDRESS_MAX", 10)
    made = Door(limits.EVENTS_RESUMES_PER_S)
    assert [sum([made.enter(address, 5.0) for _ in range(100)]) for address in "abc"] == [10, 10, 5]
    assert made.waiting == 25
    assert not made.enter("d", 5.0)
    made.entered("a")
    assert made.enter("d", 5.0)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """Addresses of simulated clients, by their number from 1; the others are at "elsewhere"."""
    found: dict[int, str] = {}
    monkeypatch.setattr(door, "address_of", lambda remote: found.get(remote[1], "elsewhere"))
    return found


def test_a_flood_of_hellos_holds_up_nobody_else(addresses: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_RESUMES_BURST", 20)

    async def scenario(kit: Kit, namespace: Any) -> None:
        clients = [await kit.client() for _ in range(5)]
        addresses.update(dict.fromkeys(range(6, 1000), "attacker"))
        refused = 0
        for _ in range(200):
            raw = await Raw.connect()
            await raw.conn.send(HELLO)
            refused += isinstance(await frame(raw, object), envelope.Refused)
            raw.conn.abort()
        assert refused == 180
        addresses.clear()  # whoever comes now is somebody else
        for client in clients:
            kit.drop(client)
        begin = asyncio.get_running_loop().time()
        while [client.reconnects for client in clients] != [1] * 5:
            await kit.advance(0.01)
        assert asyncio.get_running_loop().time() - begin < 0.5
        assert kit.app.statistics()["refused_busy"] == refused

    run(scenario, resumes_per_s=0.1)


def test_a_peer_whose_clients_wait(addresses: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as an authorizer takes: others are let in meanwhile."""
    monkeypatch.setattr(limits, "EVENTS_WAITING_HELLOS_ADDRESS_MAX", 3)

    async def scenario(kit: Kit, namespace: Any) -> None:
        gate = asyncio.Event()

        async def who(hello: Any) -> str:
            if hello.auth is None:
                await gate.wait()
            return "somebody"

        namespace.authorize(who)
        addresses.update(dict.fromkeys(range(1, 6), "slow"))
        slow = [await Raw.connect() for _ in range(5)]
        for raw in slow:
            await raw.conn.send(HELLO)
        await kit.advance(0.1)
        assert kit.app.door.waiting == 3
        assert kit.app.statistics()["refused_busy"] == 2
        other = await kit.client(auth="token", reconnect=None)
        assert other.machine.up
        slow[0].conn.abort()
        await kit.advance(0.1)
        assert kit.app.door.waiting == 2
        gate.set()
        await kit.advance(0.1)
        assert kit.app.door.waiting == 0

    run(scenario)


def test_many_come_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From one address, as behind a NAT, and more than its burst: all are let in again soon, and miss nothing."""
    monkeypatch.setattr(limits, "EVENTS_RESUMES_BURST", 150)

    async def scenario(kit: Kit, namespace: Any) -> None:
        got = [0]

        def count(m: Any) -> None:
            got[0] += 1

        clients = []
        for number in range(250):
            if number % 100 == 99:
                await kit.advance(1)
            client = await kit.client()
            client.on("x", count)
            await client.join("r")
            clients.append(client)
        kit.app.door = Door(limits.EVENTS_RESUMES_PER_S)  # as the server that is started again has one
        await kit.crash()
        await kit.start()
        begin = asyncio.get_running_loop().time()
        await namespace.to("r").emit("x", 2)
        async with asyncio.timeout(15):
            while got[0] < 250:
                await kit.advance(0.1)
        assert asyncio.get_running_loop().time() - begin < 8
        assert {client.reconnects for client in clients} == {1}
        assert kit.app.statistics()["refused_busy"] >= 50

    run(scenario)


def test_new_rooms_of_all_addresses_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_NEW_ROOMS_ALL_BURST", 100)
    made = Door(limits.EVENTS_RESUMES_PER_S)
    assert sum([made.begin_room(str(number), 5.0) for number in range(1000)]) == 100
    assert (
        sum([made.begin_room(f"new {number}", 10.0) for number in range(1000)]) == 5 * limits.EVENTS_NEW_ROOMS_ALL_PER_S
    )


def test_new_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody is asked, clients of one address may name so many that there have not been; others are theirs."""
    monkeypatch.setattr(limits, "EVENTS_NEW_ROOMS_BURST", 3)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client, other = await kit.client(), await kit.client()
        for room in "abc":
            await client.join(room)
            await client.leave(room)
        for refused in (client, other):
            with pytest.raises(Refused, match="too_many_rooms"):
                await refused.join("d")
        await client.join("a")
        await namespace.to("d").emit("x")
        await client.join("d")
        (ctx,) = [ctx for ctx in namespace.contexts() if ctx.id == other.machine.session]
        await ctx.join("the program's")
        assert kit.app.statistics()["rooms_refused"] == 2
        await kit.advance(1.1 / limits.EVENTS_NEW_ROOMS_PER_S)
        await client.join("e")
        with pytest.raises(Refused, match="too_many_rooms"):
            await client.join("f")
        assert await client.call("x") == "still there"
        namespace.authorize_room(lambda ctx, room: True)
        for number in range(20):
            await client.join(f"allowed {number}")

    app = Events()
    app.namespace("/").on("x", lambda ctx, data: "still there")
    run(scenario, app)
