"""`busy_poll_us`: the driver looks again before the loop sleeps, of whichever scheme over datagrams, at either end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import transport
from transport.drive import datagram

pytestmark = pytest.mark.asyncio
SCHEMES = ("udp", "rudp")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each time that a driver lets others have the processor before it looks again."""
    found: list[int] = []
    monkeypatch.setattr(datagram, "give_way", lambda: found.append(1))
    return found


async def roundtrip(scheme: str, served: dict[str, Any], connected: dict[str, Any]) -> None:
    async def echo(conn: transport.Connection) -> None:
        async for message in conn:
            await conn.send(message)

    server = await transport.serve(f"{scheme}://127.0.0.1:0", echo, codec="raw", **served)
    async with server, await transport.connect(str(server.url), codec="raw", **connected) as conn:
        await conn.send(b"there and back")
        assert await conn.recv() == b"there and back"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_either_end_polls_where_it_is_asked_to_and_nobody_else(scheme: str, looks: list[int]) -> None:
    await roundtrip(scheme, {}, {})
    assert not looks
    await roundtrip(scheme, {"busy_poll_us": 20}, {})
    served = len(looks)
    assert served
    await roundtrip(scheme, {}, {"busy_poll_us": 20})
    assert len(looks) > served


async def test_what_comes_while_it_polls_is_there_before_the_loop_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    both = loop.create_future()

    class Watch(transport.Protocol):
        def message_received(self, message: Any, channel: int) -> None:
            seen.append(bytes(message))
            if len(seen) == 1:
                loop.call_soon(seen.append, "the loop")
            else:
                both.set_result(None)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(10)
        url = f"udp://127.0.0.1:{peer.getsockname()[1]}"
        conn = await transport.connect(url, protocol=Watch, codec="raw", busy_poll_us=5000)
        conn.send_nowait(b"hello")
        _, address = await loop.run_in_executor(None, peer.recvfrom, 100)
        following = [b"two"]

        def send_more() -> None:
            if following:
                peer.sendto(following.pop(), address)

        monkeypatch.setattr(datagram, "give_way", send_more)
        peer.sendto(b"one", address)
        await both
        assert seen[:2] == [b"one", b"two"]
        await conn.close()
