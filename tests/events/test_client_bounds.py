"""Bounds of a client, and what bad input and a full log lead to; mostly in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.events.test_bounds import Raw, run
from tests.events.test_events import chat
from transport import limits
from transport.errors import LocalProtocolError
from transport.events import CallFailed, FileCursor, envelope
from transport.events.client import Client
from transport.events.errors import Malformed
from transport.events.testing import NAME, Kit


def test_a_program_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its bound a stream is read from the log later; calls and other streams go on meanwhile."""
    monkeypatch.setattr(limits, "EVENTS_QUEUE_EVENTS", 20)

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("ask", lambda ctx, data: "answered")
        client = await kit.client()
        room = client.subscribe("r")
        await room.begin()
        for _ in range(200):
            await namespace.to("r").emit("x", b"x")
        await kit.advance(1)
        stream = client.machine.streams["r"]
        assert len(stream.tracker) == 20
        assert await client.call("ask") == "answered"
        got = []
        async for m in room:
            got.append(m.offset)
            if m.offset == 200:
                break
        assert got == list(range(1, 201))
        assert kit.app.statistics()["pauses"] >= 1
        monkeypatch.setattr(limits, "EVENTS_QUEUE_BYTES", 5000)
        for _ in range(200):
            await namespace.to("r").emit("x", b"x" * 1000)
        await kit.advance(1)
        assert stream.tracker.waiting_bytes < 7000

    run(scenario)


def test_volatile_events_that_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_VOLATILE_MAX", 3)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("slow", lambda m: asyncio.sleep(1))
        client.on("pos", lambda m: got.append(m.event))
        (ctx,) = namespace.contexts()
        await ctx.send("slow")
        await kit.advance(0.1)
        for number in range(10):
            await ctx.send("pos", number, volatile=True)
        await kit.advance(5)
        assert got == [7, 8, 9]

    run(scenario)


def test_cursor_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "me.cur"

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=path)
        writes: list[int] = []
        original = FileCursor.save
        monkeypatch.setattr(FileCursor, "save", lambda self, state: (writes.append(1), original(self, state)))
        client.on("x", lambda m: None)
        await client.join("r")
        for _ in range(100):
            await namespace.to("r").emit("x")
            await kit.advance(0.01)
        await kit.advance(limits.EVENTS_CURSOR_S * 2)
        assert 3 <= len(writes) <= 2 + 1.3 / limits.EVENTS_CURSOR_S

    run(scenario)
    assert [one.name for one in tmp_path.iterdir()] == ["me.cur"], "nothing is left lying about"
    path.write_bytes(b"\x00" * (limits.EVENTS_CURSOR_FILE_BYTES_MAX + 1))
    with pytest.raises(LocalProtocolError, match="too large"):
        FileCursor(path).load()


@pytest.mark.parametrize("state", [b"\xc1", b"\x80", envelope.encode_body({"format": 2}), b"\x93\x01\x02\x03"])
def test_what_is_no_cursor(state: bytes, tmp_path: Path) -> None:
    path = tmp_path / "me.cur"
    path.write_bytes(state)

    async def scenario(kit: Kit, namespace: Any) -> None:
        with pytest.raises(LocalProtocolError, match="cursor"):
            await kit.client(cursor=path)

    run(scenario)


def test_an_event_that_is_too_large_for_one_client() -> None:
    """It is told, and everybody else gets it."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        small = await kit.client(max_message=65_536)
        large = await kit.client()
        got: dict[Any, list[Any]] = {small: [], large: []}
        for client, heard in got.items():
            client.on("x", lambda m, heard=heard: heard.append(m.offset))
            client.on_gap(lambda m, heard=heard: heard.append((m.gap.reason, m.gap.lost)))
            await client.join("r")
        await namespace.to("r").emit("x", b"x" * 100_000)
        await namespace.to("r").emit("x", b"x")
        await kit.advance(1)
        assert got[large] == [1, 2]
        assert got[small] == [("too_large", 1), 2]

    run(scenario)


def test_a_log_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler's event that can't be kept is an error to its caller; nothing is acknowledged that was not stored."""
    from transport.log.errors import LogFull

    async def scenario(kit: Kit, namespace: Any) -> None:
        ran: list[int] = []

        @namespace.on("say")
        async def say(ctx: Any, data: Any) -> Any:
            ran.append(data)
            return await namespace.to("r").emit("said", data)

        client = await kit.client()
        original = kit.app.log.commit
        full = "appends"

        async def commit(appends: Any = (), receipt: Any = None) -> Any:
            if (full == "appends" and appends) or (full == "receipts" and receipt is not None):
                raise LogFull("the disk is full")
            return await original(appends, receipt)

        monkeypatch.setattr(kit.app.log, "commit", commit)
        with pytest.raises(CallFailed, match="log_full"):
            await client.call("say", 1)
        full = "receipts"
        call = asyncio.create_task(client.call("say", 2, timeout=60))
        await kit.advance(10)
        assert not call.done()
        assert kit.app.statistics()["log_failures"] >= 1
        full = ""
        assert (await call)[1] == 1
        assert ran == [1, 2], "it was stored later, not handled again"

    run(scenario)


def test_bad_input_of_one_client_slows_nobody_else() -> None:
    app, _ = chat()

    async def scenario(kit: Kit) -> None:
        good = await kit.client(namespace="/chat")
        for frame in (b"", b"\x99", b"\x04", envelope.go_on(1, 99), envelope.pause(77), b"\x05\x01\x01\xc1"):
            raw = Raw(await transport.connect(f"memory://{NAME}", codec="raw"))
            await raw.conn.send(envelope.hello(envelope.Hello("/chat", None, "", b"", 0, 0, [])))
            await kit.advance(0.1)
            await raw.conn.send(frame)
            await kit.advance(0.1)
            assert (await good.call("say", {"room": "r", "text": 1}))[1]
            raw.conn.abort()

    app.test().run(scenario)


def test_a_server_that_names_ever_more_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own table is bounded, whatever the server says."""
    monkeypatch.setattr(limits, "EVENTS_CLIENT_STREAMS_MAX", 5)
    client = Client("/")
    client.connected()
    client.receive(envelope.welcome(envelope.Welcome("me", b"secret", 1, False, 0, [], 0, 16, 1000)))
    for number in range(4):
        client.receive(envelope.joined(envelope.Joined(0, number + 2, False, f"r{number}", 7, 0, 0, 0, False, b"t")))
    with pytest.raises(Malformed, match="too many rooms"):
        client.receive(envelope.joined(envelope.Joined(0, 9, False, "r9", 7, 0, 0, 0, False, b"t")))
    assert len(client.streams) == 5
