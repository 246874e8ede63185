"""What `authorize` can see and say, and clients that can't be let in."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from tests.events.test_restored import frame
from transport.errors import ConnectionClosed
from transport.events import Denied, Events, Refused, connect_events, envelope
from transport.events.testing import Kit


@pytest.mark.asyncio
async def test_authorize_sees_the_request_of_a_websocket() -> None:
    """Who has logged in at a site has a cookie, and no token that a script could give."""
    app = Events()
    chat = app.namespace("/chat")

    @chat.authorize
    async def who(hello: Any) -> str:
        request = hello.get_extra_info("request")
        if request is None or request.header("cookie") != "session=ann":
            raise Denied("log in first")
        return "ann"

    async with app.serve("ws://127.0.0.1:0/events", "tcp://127.0.0.1:0") as serving:
        ws, tcp = serving.urls
        async with connect_events(ws, namespace="/chat", headers={"Cookie": "session=ann"}) as client:
            assert client.machine.up
        for url in (ws, tcp):
            with pytest.raises(Denied, match="log in first"):
                await connect_events(url, namespace="/chat")


def test_refusals_of_a_program_are_counted_together() -> None:
    """Their reasons are its own, and may be made of what a client says."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        def who(hello: Any) -> None:
            raise Refused(hello.auth, "not that one")

        namespace.authorize(who)
        for reason in ("one", "two", "three"):
            with pytest.raises(Refused, match=reason):
                await kit.client(auth=reason, reconnect=None)
        assert kit.app.statistics()["refused_by_program"] == 3
        assert not [name for name in kit.app.statistics() if name.startswith("refused_t")]

    run(scenario)


def test_a_client_that_takes_no_welcome() -> None:
    """It would wait for one until it gave up."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.conn.send(envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, [], 64)))
        with pytest.raises(ConnectionClosed, match="takes no message"):
            await frame(raw, envelope.Welcome)
        assert kit.app.statistics()["refused_too_large"] == 1

    run(scenario)


def test_a_volatile_event_that_one_client_can_not_be_given(caplog: pytest.LogCaptureFixture) -> None:
    """An error of its connection's own is not one of the broadcast's."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        bad, good = await kit.client(), await kit.client()
        got: list[Any] = []
        good.on("x", lambda m: got.append(m.event))
        for client in (bad, good):
            await client.join("r")

        def broken(*_: Any, **__: Any) -> None:
            raise OSError("no such thing")

        (link,) = [link for link in kit.app.links if link.id == bad.machine.session]
        link._send = broken
        with caplog.at_level(logging.CRITICAL, "transport.events"):
            await namespace.to("r").emit("x", 1, volatile=True)
        await kit.advance(1)
        assert got == [1]
        assert bad.reconnects == 1

    run(scenario)
