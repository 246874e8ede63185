"""Every bound is reached, and what lies beyond it is what was promised; mostly in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import transport
from transport import CloseCode, limits
from transport.errors import ConnectionClosed, LocalProtocolError, MessageTooLarge, WouldBlock
from transport.events import CallFailed, Events, History, PeerGone, Refused, envelope, parse
from transport.events.errors import Busy
from transport.events.hub import Calls
from transport.events.session import Session, Verdict
from transport.events.streams import Stream
from transport.events.testing import NAME, Kit
from transport.log.records import Event as Stored
from transport.log.records import Stream as Name


def run(scenario: Callable[..., Any], app: Events | None = None, **options: Any) -> Any:
    """A scenario with an app of one namespace; `scenario(kit, namespace)`."""
    app = Events(**options) if app is None else app
    namespace = app.namespaces.get("/") or app.namespace("/")
    return app.test(5).run(lambda kit: scenario(kit, namespace))


class Raw:
    """A client that says what it likes."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn

    @classmethod
    async def connect(cls) -> Raw:
        return cls(await transport.connect(f"memory://{NAME}", codec="raw"))

    async def enter(self) -> Any:
        await self.conn.send(envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, [])))
        while True:
            frame = parse.parse(await self.conn.recv(), parse.FROM_SERVER)
            if isinstance(frame, envelope.Joined):
                return frame

    async def ended(self) -> int:
        """The code that the server ends the connection with."""
        try:
            while True:
                await self.conn.recv()
        except ConnectionClosed as error:
            return error.code


def message(number: int, floor: int) -> bytes:
    return envelope.message(number, floor, False, envelope.payload("x", None))


# Letting in


def test_no_hello() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        begin = asyncio.get_running_loop().time()
        assert await raw.ended() == CloseCode.HANDSHAKE_TIMEOUT
        assert asyncio.get_running_loop().time() - begin == pytest.approx(limits.EVENTS_HELLO_S, abs=0.1)

    run(scenario)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"\x99"], CloseCode.PROTOCOL_ERROR),
        ([message(1, 1)], CloseCode.PROTOCOL_ERROR),
        ([b"\x01\xc1"], CloseCode.INVALID_BODY),
        ([envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, []))] * 2, CloseCode.PROTOCOL_ERROR),
    ],
)
def test_bad_beginnings(frames: list[bytes], code: int) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        other = await kit.client()
        raw = await Raw.connect()
        for frame in frames:
            await raw.conn.send(frame)
        assert await raw.ended() == code
        assert other.machine.up
        assert kit.app.statistics()["malformed"] == 1

    run(scenario)


def test_an_authorizer_that_never_answers() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.authorize(lambda hello: asyncio.sleep(1000))
        with pytest.raises(Busy, match="internal error"):
            await kit.client(reconnect=None, connect_timeout=None)
        assert asyncio.get_running_loop().time() == pytest.approx(limits.EVENTS_AUTHORIZE_S, abs=2)

    run(scenario)


def test_hellos_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_WAITING_HELLOS_MAX", 0)

    async def scenario(kit: Kit, namespace: Any) -> None:
        with pytest.raises(Busy):
            await kit.client(reconnect=None)
        assert kit.app.statistics()["refused_busy"] == 1

    run(scenario)


def test_a_storm_of_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are let in, one after the other, and none is lost."""
    monkeypatch.setattr(limits, "EVENTS_RESUMES_BURST", 10)

    async def scenario(kit: Kit, namespace: Any) -> float:
        loop = asyncio.get_running_loop()
        clients = await asyncio.gather(*[kit.client() for _ in range(40)])
        assert all(client.machine.up for client in clients)
        assert kit.app.statistics()["refused_busy"] > 10
        return loop.time()

    assert 2.0 < run(scenario, resumes_per_s=10.0) < 30


# From clients


def test_the_window() -> None:
    session = Session("s", None, 1, None)
    for number in range(1, limits.EVENTS_WINDOW + 1):
        assert session.message(number, 1) is Verdict.RUN
    assert session.message(limits.EVENTS_WINDOW + 1, 1) is Verdict.VIOLATION
    assert session.message(1, 1) is Verdict.AGAIN
    assert session.handled(1)
    assert session.message(1, 1) is Verdict.DONE
    assert session.message(limits.EVENTS_WINDOW + 1, 2) is Verdict.RUN
    assert session.message(1, 2) is Verdict.SETTLED
    assert session.message(limits.EVENTS_WINDOW + 3, 3) is Verdict.VIOLATION, "one was left out"
    assert limits.EVENTS_WINDOW <= limits.LOG_BEYOND_MAX


def test_a_client_outside_of_the_window() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        await raw.conn.send(message(2, 1))
        assert await raw.ended() == CloseCode.PROTOCOL_ERROR

    run(scenario)


def test_emit_waits_for_the_window() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        gate = asyncio.Event()
        namespace.on("x", lambda ctx, data: gate.wait())
        client = await kit.client()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(limits.EVENTS_WINDOW + 10):
                await client.emit("x")
                sent += 1

        task = asyncio.create_task(send())
        await kit.advance(1)
        assert sent == limits.EVENTS_WINDOW
        gate.set()
        await task
        await client.flush()
        assert client.machine.unsettled == 0

    run(scenario)


def test_names_and_sizes() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        with pytest.raises(LocalProtocolError, match=str(limits.EVENTS_NAME_BYTES_MAX)):
            await client.emit("x" * 256)
        with pytest.raises(MessageTooLarge):
            await client.emit("x", b"x" * (limits.MESSAGE_BYTES_DEFAULT - limits.EVENTS_FRAME_COST_BYTES))
        with pytest.raises(LocalProtocolError, match=str(limits.EVENTS_NAME_BYTES_MAX)):
            await client.join("r" * 256)
        with pytest.raises(CallFailed) as caught:
            await client.call("y" * 255)
        assert len(caught.value.text) <= limits.EVENTS_TEXT_CHARS_MAX

    run(scenario)


def test_tables_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Events()
    namespace = app.namespace("/")
    monkeypatch.setattr(limits, "EVENTS_MIDDLEWARE_MAX", 2)
    monkeypatch.setattr(limits, "EVENTS_HANDLERS_MAX", 2)
    for register in (lambda: namespace.use(print), lambda: namespace.on("x", print)):
        register()
        register()
        with pytest.raises(LocalProtocolError, match="more than 2"):
            register()
    with pytest.raises(LocalProtocolError, match="concurrency"):
        app.namespace("/b", concurrency=limits.EVENTS_CONCURRENCY_MAX + 1)
    with pytest.raises(LocalProtocolError, match="exists"):
        app.namespace("/")
    with pytest.raises(LocalProtocolError, match="joiners"):
        History(joiners="yesterday")
    with pytest.raises(LocalProtocolError, match="History"):
        History(age="long")


def test_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_ROOMS_MAX", 2)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        await client.join("a")
        await client.join("b")
        with pytest.raises(Refused, match="too_many_rooms"):
            await client.join("c")
        await client.leave("a")
        await client.join("c")

    run(scenario)


def test_joins_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_REQUESTS_MAX", 2)

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.authorize_room(lambda ctx, room: asyncio.sleep(1, True))
        client = await kit.client()
        tasks = [asyncio.create_task(client.join(room)) for room in "ab"]
        await kit.advance(0.01)
        with pytest.raises(WouldBlock):
            await client.join("c")
        await asyncio.gather(*tasks)
        raw = await Raw.connect()
        await raw.enter()
        for request in range(1, 6):
            await raw.conn.send(envelope.join(request, "r", "now"))
        assert await raw.ended() == CloseCode.OVERLOADED

    run(scenario)


# To clients


def test_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_CALLS_MAX", 1)
    monkeypatch.setattr(limits, "EVENTS_CLIENT_CALLS_MAX", 1)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        client.on("slow", lambda m: asyncio.sleep(1, "done"))
        (ctx,) = namespace.contexts()
        first = asyncio.create_task(ctx.call("slow"))
        await kit.advance(0.1)
        with pytest.raises(WouldBlock, match="EVENTS_CALLS_MAX"):
            await ctx.call("slow")
        monkeypatch.setattr(limits, "EVENTS_CALLS_MAX", 100)
        second = asyncio.create_task(ctx.call("slow"))
        await kit.advance(0.1)
        with pytest.raises(CallFailed, match="busy"):
            await ctx.call("slow")
        assert await asyncio.gather(first, second) == ["done", "done"]
        third = asyncio.create_task(ctx.call("slow"))
        await kit.advance(0.1)
        kit.drop(client)
        with pytest.raises(PeerGone):
            await third

    run(scenario)


def test_the_table_of_calls_is_empty_afterwards() -> None:
    loop = asyncio.new_event_loop()
    calls = Calls(loop)
    members = [type("Member", (), {"id": str(number)})() for number in range(3)]
    asked = calls.begin(members)
    calls.answered(members[0], asked.number, True, 1)
    calls.answered(members[0], asked.number, True, 2)
    calls.gone(members[1])
    calls.end(asked)
    assert (asked.answers, asked.gone, len(calls), calls._of) == ({"0": 1}, ["1"], 0, {})
    loop.close()


def test_a_slow_consumer() -> None:
    """A client that reads nothing: the server keeps its place, and no more than the budget."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        await raw.conn.send(envelope.join(1, "r", "now"))
        await kit.advance(0.1)
        (link,) = kit.app.links
        for _ in range(600):
            await namespace.to("r").emit("x", b"x" * 20_000)
            await kit.advance(0.001)
        assert link.paused
        statistics = link.conn.statistics()
        queued = statistics.queued_bytes + statistics.unsent_bytes + statistics.blocked_bytes
        assert queued < limits.EVENTS_OUTBOUND_BYTES + limits.EVENTS_OUTBOUND_LOW_BYTES
        assert kit.app.statistics()["held_bytes"] <= limits.EVENTS_HOLD_BYTES
        assert kit.app.statistics()["readers"] == 1
        offsets = []
        while not offsets or offsets[-1] < 600:
            frame = parse.parse(await raw.conn.recv(), parse.FROM_SERVER)
            if isinstance(frame, envelope.Event):
                offsets.append(frame.offset)
        assert offsets == list(range(1, 601))

    run(scenario)


def test_what_is_held_is_bounded() -> None:
    stream = Stream(Name("/", "r"), 1)
    stream.begin(1, 0)
    stream.reading = 1
    for offset in range(1, 400):
        stream.publish(1, [Stored(offset, offset - 1, 0, b"x")])
    assert len(stream.held) == limits.EVENTS_HOLD_EVENTS
    for offset in range(400, 410):
        stream.publish(1, [Stored(offset, offset - 1, 0, b"x" * 100_000)])
    assert stream.held_bytes <= limits.EVENTS_HOLD_BYTES
    stream.readers_changed(-1)
    assert (len(stream.held), stream.held_bytes) == (0, 0)


def test_pages_and_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of the log is in memory at once."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.offset))
        await client.join("r")
        kit.partition(client)
        for _ in range(700):
            await namespace.to("r").emit("x", b"x" * 1000)
        pages: list[Any] = []
        original = kit.app.log.read

        async def read(stream: Any, after: int, *, count: int, bytes: int) -> Any:  # noqa: A002
            page = await original(stream, after, count=count, bytes=bytes)
            if not stream.private:
                pages.append((len(page.events), sum([len(event.payload) for event in page.events])))
            return page

        monkeypatch.setattr(kit.app.log, "read", read)
        kit.heal(client)
        await kit.advance(10)
        assert got == list(range(1, 701))
        assert len(pages) > 700_000 // limits.EVENTS_PAGE_BYTES - 5
        assert max([size for _, size in pages]) <= limits.EVENTS_PAGE_BYTES
        assert max([count for count, _ in pages]) <= limits.EVENTS_PAGE_EVENTS
        assert kit.app.hub.reads._value == limits.EVENTS_READS_MAX
        assert limits.EVENTS_FLUSH_BYTES >= limits.EVENTS_PAGE_BYTES

    run(scenario)


@pytest.mark.parametrize("bound", ["events", "bytes"])
def test_what_one_resume_may_bring(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bound == "events":
        monkeypatch.setattr("transport.events.opening.Budget", lambda: _budget(5, 1 << 20))
    else:
        monkeypatch.setattr("transport.events.opening.Budget", lambda: _budget(1000, 500))
    assert limits.EVENTS_REPLAY_EVENTS == 10_000
    assert limits.EVENTS_REPLAY_BYTES == 16 * limits.MIB

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[Any] = []
        client.on("x", lambda m: got.append(m.offset))
        client.on_gap(lambda m: got.append((m.gap.reason, m.gap.lost, m.gap.top)))
        await client.join("r")
        kit.partition(client)
        for _ in range(6):
            await namespace.to("r").emit("x", b"x" * 100)
        kit.heal(client)
        await kit.advance(10)
        if bound == "events":
            assert got == [("limit", 6, 6)]
        else:
            assert got == [1, 2, 3, 4, ("limit", 2, 6)]
        await namespace.to("r").emit("x")
        await kit.advance(1)
        assert got[-1] == 7

    run(scenario)


def _budget(events: int, size: int) -> Any:
    from transport.events.streams import Budget

    return Budget(events, size)


def test_conflated_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_CONFLATED_MAX", 2)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[Any] = []
        client.on("*", lambda m: got.append((m.name, m.event)))
        (ctx,), (link,) = namespace.contexts(), kit.app.links
        link.pause_writing()
        for number in range(5):
            await ctx.send("pos", number, volatile=True, conflate="a")
        await ctx.send("pos", "b", volatile=True, conflate="b")
        await ctx.send("pos", "c", volatile=True, conflate="c")
        await ctx.send("pos", "d", volatile=True)
        link.resume_writing()
        await kit.advance(1)
        assert got == [("pos", 4), ("pos", "b")]
        assert kit.app.statistics()["volatile_dropped"] == 2
        assert kit.app.statistics()["conflated"] == 4

    run(scenario)


def test_an_advance_is_told_soon_and_once() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        await client.join("r")
        (ctx,) = namespace.contexts()
        for _ in range(50):
            await namespace.to("r").emit("x", skip=ctx)
        await kit.advance(limits.EVENTS_ADVANCE_S + 0.05)
        assert client.cursors["r"].offset == 50
        received = client.wire.conn.statistics().messages_received
        assert received < 10
        kit.drop(client)
        await namespace.to("r").emit("x", skip=ctx)
        await kit.advance(5)
        assert client.cursors["r"].offset == 51, "a replay heeds it, too"
        assert client.statistics().get("unhandled", 0) == 0

    run(scenario)


def test_sessions_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_SESSIONS_MAX", 2)

    async def scenario(kit: Kit, namespace: Any) -> None:
        for _ in range(4):
            client = await kit.client()
            await client.close()
        await kit.advance(40)
        assert len(kit.app.hub.sessions) == 2

    run(scenario)


def test_presence_has_a_grace() -> None:
    app = Events()
    app.namespace("/", presence=True)

    async def scenario(kit: Kit, namespace: Any) -> None:
        ann, bob = await kit.client(), await kit.client()
        changes: list[str] = []
        ann.on("join", lambda m: changes.append("join"))
        ann.on("leave", lambda m: changes.append("leave"))
        await ann.join("r")
        await ann.presence("r")
        await bob.join("r")
        await kit.advance(1)
        kit.drop(bob)
        await kit.advance(limits.EVENTS_PRESENCE_S + 5)
        assert changes == ["join"], "it came back in time"
        await bob.close()
        await kit.advance(limits.EVENTS_PRESENCE_S + 5)
        assert changes == ["join", "leave"]
        assert len(await ann.presence("r")) == 1

    run(scenario, app)
