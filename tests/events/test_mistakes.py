"""What somebody new to it gets wrong: told at the call, or in one line of the log that says what to write instead."""

from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import transport
from transport import limits
from transport.errors import CodecError, LocalProtocolError, UnsupportedDelivery
from transport.events import (
    CallFailed,
    Denied,
    Events,
    EventsClient,
    History,
    Refused,
    SQLiteCursor,
    Superseded,
    connect_events,
)
from transport.events.handlers import Handlers
from transport.events.testing import Kit
from transport.events.watch import Watch


@dataclass
class Said:
    text: str


class User:
    """No form in msgpack."""


def forget(what: Any) -> None:
    """Lets go of the last reference, on every implementation at once."""
    del what
    gc.collect()


def lines(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


# At the call


def test_functions_that_can_not_be_called_as_they_will_be() -> None:
    namespace = Events().namespace("/")
    wrong = r"the handler of 'say' is called as {}\(ctx, data\), but is {}"
    bad_ones: list[Any] = [lambda ctx: 0, lambda ctx, name, data: 0]
    for wrong_one in bad_ones:
        with pytest.raises(LocalProtocolError, match=wrong.format("<lambda>", "<lambda>")):
            namespace.on("say", wrong_one)
    with pytest.raises(LocalProtocolError, match=r"is called as <lambda>\(ctx, name, data\)"):
        namespace.on("say.*", lambda ctx, data: 0)
    for bad in (None, "say"):
        with pytest.raises(LocalProtocolError, match="can't be called"):
            Handlers().on("say", bad)  # type: ignore[arg-type]
    register: Any
    function: Any
    for register in (
        namespace.authorize, namespace.authorize_room, namespace.snapshot, namespace.connected,
        namespace.disconnected, namespace.use,
    ):  # fmt: skip
        with pytest.raises(LocalProtocolError, match="can't be called"):
            register(None)  # type: ignore[type-var]
        with pytest.raises(LocalProtocolError, match="is called as"):
            register(lambda: None)
    good: list[Any] = [print, lambda *given: 0, lambda ctx, data, more=1: 0, Said.__init__]
    for function in good:
        namespace.on("say", function)


def test_a_decorator_without_its_name() -> None:
    namespace = Events().namespace("/")
    with pytest.raises(LocalProtocolError, match=r"write @namespace.on\('name'\)"):

        @namespace.on
        async def said(ctx: Any, data: Any) -> None: ...

    for bad in (None, 5, ""):
        with pytest.raises(LocalProtocolError, match="a handler is for a name"):
            namespace.on(bad)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"log": "events.db"}, "SQLiteLog"),
        ({"key": "a text of enough length"}, "is bytes"),
        ({"handler_timeout": "5s"}, "handler_timeout is a number"),
        ({"session_s": 0}, "session_s is a number"),
    ],
)
def test_apps(arguments: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        Events(**arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": None}, "a namespace is a name"),
        ({"history": 100}, "history is a History"),
        ({"concurrency": "8"}, "concurrency is 1 to"),
        ({"on_gap": "ignore"}, "on_gap is one of"),
    ],
)
def test_namespaces(arguments: Any, text: str) -> None:
    with pytest.raises(LocalProtocolError, match=text):
        Events().namespace(**arguments)


def test_histories() -> None:
    for given in ({"count": -1}, {"count": "5"}, {"age": "1 day"}, {"bytes": "much"}):
        with pytest.raises(LocalProtocolError, match="History: "):
            History(**given)  # type: ignore[arg-type]


def test_what_is_found_when_it_begins_to_serve() -> None:
    async def main() -> None:
        app = Events()
        with pytest.raises(LocalProtocolError, match="has no namespace"):
            await app.serve("memory://mistakes")
        app.namespace("/", on_gap="snapshot")
        with pytest.raises(UnsupportedDelivery, match="reliable and ordered"):
            await app.serve("tcp://127.0.0.1:0", "udp://127.0.0.1:0")
        with pytest.raises(LocalProtocolError, match="needs @namespace.snapshot"):
            await app.serve("memory://mistakes")
        assert not app.serves

    asyncio.run(main())


def test_what_is_not_awaited() -> None:
    async def main() -> None:
        app = Events()
        namespace = app.namespace("/")
        opened: Any
        for make, name in (
            (lambda: app.serve("memory://mistakes"), r"app\.serve\(\.\.\.\)"),
            (lambda: connect_events("memory://mistakes"), r"connect_events\(\.\.\.\)"),
            (lambda: transport.serve("memory://mistakes"), r"serve\(\.\.\.\)"),
            (lambda: transport.connect("memory://mistakes"), r"connect\(\.\.\.\)"),
        ):
            with pytest.warns(RuntimeWarning, match=name + " was never awaited"):
                forget(make())
            opened = make()
            with pytest.raises(AttributeError, match="no 'join' yet: write `await " + name):
                opened.join("room")
            opened.__await__().close()  # as if it had been awaited
        async with app.serve("memory://mistakes"), connect_events("memory://mistakes") as client:
            for call in (lambda: client.emit("say"), lambda: namespace.to("r").emit("say")):
                with pytest.warns(RuntimeWarning, match="never awaited"):
                    forget(call())

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"namespace": None}, "namespace is the name"),
        ({"cursor": 5}, "cursor is a path"),
        ({"ack": "auto"}, "ack is 'processed' or 'received'"),
        ({"reconnect": True}, "reconnect is a transport.Backoff"),
        ({"reconnect": False}, "reconnect is a transport.Backoff"),
        ({"concurrency": "8"}, "concurrency is 1 to"),
    ],
)
def test_clients(arguments: Any, text: str) -> None:
    async def main() -> None:
        with pytest.raises(LocalProtocolError, match=text):
            await connect_events("memory://nobody", **arguments)

    asyncio.run(main())


def test_cursors_that_can_not_be(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(LocalProtocolError, match="is not there: make it first"):
            await connect_events("memory://nobody", cursor=tmp_path / "none" / "me.cur")
        (tmp_path / "text").write_text("hello")
        with pytest.raises(LocalProtocolError, match=r"text: this is no cursor .* Remove it, or give another path"):
            await connect_events("memory://nobody", cursor=tmp_path / "text")
        with pytest.raises(LocalProtocolError, match=r"sqlite3\.connect\(path\)"):
            SQLiteCursor("effects.db")

    asyncio.run(main())


def run(scenario: Any, **options: Any) -> Any:
    app = Events()
    namespace = app.namespace("/", **options)
    return app.test(3).run(lambda kit: scenario(kit, namespace))


def test_what_is_told_at_the_call_of_a_client() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        for call in (lambda: client.join("r", since="beginning"), client.subscribe("r", since="first").begin):
            with pytest.raises(LocalProtocolError, match="since is 'cursor', 'now' or 'oldest'"):
                await call()
        with pytest.raises(LocalProtocolError, match=r"is called as <lambda>\(message\)"):
            client.on("say", lambda ctx, data: 0)
        with pytest.raises(LocalProtocolError, match=r"is called as <lambda>\(message\)"):
            client.on("say.*", lambda ctx, data: 0)
        with pytest.raises(LocalProtocolError, match="can't be called"):
            client.on_gap(None)
        with pytest.raises(LocalProtocolError, match="skip is a context"):
            await namespace.to("r").emit("x", skip=5)
        for data, text in (
            (User(), "the data of 'x': User has no form in msgpack .events carry None"),
            ({"at": [{1}]}, r"the data of 'x'\['at'\]\[0\]: set has no form"),
        ):
            for emit in (client.emit, namespace.to("r").emit):
                with pytest.raises(CodecError, match=text) as caught:
                    await emit("x", data)
                assert "MsgpackCodec" not in str(caught.value)

    run(scenario)


def test_once_that_can_not_be() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        db = sqlite3.connect(":memory:")
        client = await kit.client()
        for ack, given, text in (
            ("received", db, "needs ack='processed'"),
            ("processed", "effects.db", r"sqlite3\.connect\(path\)"),
        ):
            client = await kit.client(ack=ack)
            room = client.subscribe(f"r-{ack}")
            await room.begin()
            await namespace.to(f"r-{ack}").emit("x")
            message = await anext(room)
            with pytest.raises(LocalProtocolError, match=text):
                message.once(given)
        room = client.subscribe("r")
        await room.begin()
        await namespace.to("r").emit("x")
        message = await anext(room)
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(LocalProtocolError, match="commit or roll it back first"):
            async with message.once(db):
                pass
        db.close()

    run(scenario)


# In the log


def test_events_that_come_to_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A name that is misspelt, data of another shape: a caller is told, and of what is emitted the log says it once."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        namespace.on(Said, lambda ctx, said: said.text)
        for _ in range(3):
            await client.emit("sayd", "hello")
            await client.emit("said", {"words": "hello"})
        with pytest.raises(CallFailed, match="unknown_event"):
            await client.call("other")
        await client.flush()
        assert "other" not in lines(caplog)
        assert lines(caplog).count("an event 'sayd' of a client of '/' was not handled: nobody handles 'sayd'") == 1
        assert lines(caplog).count("an event 'said' of a client of '/' was not handled: its data does not fit") == 1
        for number in range(2 * limits.EVENTS_UNHANDLED_MAX):
            await client.emit(f"name-{number}")
        await client.flush()
        assert lines(caplog).count("was not handled") == limits.EVENTS_UNHANDLED_MAX

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_handlers_that_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()

        @namespace.on("gives")
        async def gives(ctx: Any, data: Any) -> Any:
            return User()

        @namespace.on("emits")
        async def emits(ctx: Any, data: Any) -> None:
            await namespace.to("r").emit("x", User())

        @namespace.on("sleeps")
        async def sleeps(ctx: Any, data: Any) -> None:
            await asyncio.sleep(1000)

        for name in ("gives", "emits"):
            with pytest.raises(CallFailed, match="internal error"):
                await client.call(name)
        await client.emit("sleeps")
        await kit.advance(limits.EVENTS_HANDLER_S + 1)
        text = lines(caplog)
        assert "what the handler of 'gives' returned can't be sent: can't encode message: User has no form" in text
        assert "the handler of 'emits' failed" in text
        assert f"the handler of 'sleeps' took over {limits.EVENTS_HANDLER_S:g} s and was ended" in text

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_authorize_that_gives_what_is_no_identity(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.authorize(lambda hello: hello.auth == "a good token")
        with pytest.raises(Denied):
            await kit.client(auth="a bad token")
        await kit.client(auth="a good token")
        namespace.authorize(lambda hello: User())
        with pytest.raises(Refused, match="see the server's log"):
            await kit.client(reconnect=None)
        assert "what authorize returns is kept as the client's identity" in caplog.text

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_rooms_of_the_program_without_authorize_room(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        for room in ("lobby", "other"):
            await namespace.contexts()[0].join(room)
        kit.drop(client)
        await kit.advance("10s")
        assert lines(caplog).count("let into 'lobby' of '/' again: your program had put it there") == 1
        assert "let into 'other'" not in lines(caplog), "once is enough"
        assert "events of 'lobby' are missing" in lines(caplog)
        assert "client.on_gap is told" in lines(caplog)

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_two_programs_with_one_cursor(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The one that was there first hears of it, also where it has nothing but handlers."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        one = await kit.client(cursor=tmp_path / "me.cur")
        await kit.client(cursor=tmp_path / "me.cur")
        await kit.advance("1s")
        assert "has ended and does not come back: superseded" in lines(caplog)
        with pytest.raises(Superseded, match="one program at a time can use a cursor"):
            await one.wait_closed()

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_a_cursor_of_another_server(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    async def main() -> None:
        told: asyncio.Queue[Any] = asyncio.Queue()
        for number in range(2):
            app = Events(key=bytes([number]) * 16)
            app.namespace("/")
            async with app.serve("memory://mistakes"):
                client: EventsClient
                async with connect_events("memory://mistakes", cursor=tmp_path / "me.cur") as client:
                    client.on_gap(told.put_nowait)
                    await client.join("r")
                    while number and (await told.get()).room != "r":
                        pass
        assert "does not take the session of this client" in lines(caplog)

    with caplog.at_level(logging.WARNING, "transport.events"):
        asyncio.run(main())


def test_a_handler_that_blocks(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of the server runs meanwhile, whatever blocks; afterwards one line says so."""
    monkeypatch.setattr(limits, "EVENTS_BLOCKED_S", 0.02)

    async def main() -> None:
        app = Events()
        namespace = app.namespace("/")
        namespace.on("block", lambda ctx, data: time.sleep(0.1))  # what it is about
        async with app.serve("memory://mistakes"), connect_events("memory://mistakes") as client:
            for _ in range(3):
                await client.call("block")
            async with asyncio.timeout(2):
                while "the event loop stood still" not in lines(caplog):
                    await asyncio.sleep(0.005)
        assert lines(caplog).count("the event loop stood still") == 1

    with caplog.at_level(logging.WARNING, "transport.events"):
        asyncio.run(main())


def test_the_watch_is_quiet_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    class Loop:
        def __init__(self) -> None:
            self.now = 0.0
            self.waiting: list[Any] = []

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, function: Any) -> Any:
            self.waiting.append(function)
            return asyncio.TimerHandle(when, function, (), self)  # type: ignore[arg-type]

        def get_debug(self) -> bool:
            return False

        def _timer_handle_cancelled(self, handle: Any) -> None:
            self.waiting.clear()

    loop: Any = Loop()
    watch = Watch(loop)
    with caplog.at_level(logging.WARNING, "transport.events"):
        for step, count in ((1.9, 0), (2.0, 1), (2.0, 1), (limits.EVENTS_BLOCKED_QUIET_S, 2)):
            loop.now += step * limits.EVENTS_BLOCKED_S
            loop.waiting.pop()()
            assert len(caplog.records) == count
    watch.end()
    assert not loop.waiting
