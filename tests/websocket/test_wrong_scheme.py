"""One side speaks WebSocket and the other something else: both are told at once, and what to write instead."""

from __future__ import annotations

import asyncio

import pytest

import transport
from tests.websocket.by_hand import listening, written
from transport.errors import ConnectFailed
from transport.stream.preface import MAGIC

pytestmark = pytest.mark.asyncio


async def ignore(conn: transport.Connection) -> None:
    async for _ in conn:
        pass


async def test_a_tcp_client_of_a_websocket_server() -> None:
    """The server does not wait for the end of a head that never comes."""
    async with asyncio.timeout(4), transport.serve("ws://127.0.0.1:0", ignore) as server:
        with pytest.raises(ConnectFailed, match="this looks like HTTP; ws:// speaks that"):
            await transport.connect(f"tcp://127.0.0.1:{server.url.port}")
        assert server.statistics().counters["http_400"] == 1


async def test_a_websocket_client_of_a_tcp_server() -> None:
    async with asyncio.timeout(4), transport.serve("tcp://127.0.0.1:0", ignore) as server:
        with pytest.raises(ConnectFailed, match="speaks another scheme, tcp:// perhaps"):
            await transport.connect(f"ws://127.0.0.1:{server.url.port}")


async def test_bytes_that_begin_no_request() -> None:
    for data in (MAGIC, b"\x16\x03\x01", b"\x00", b"\xff", b" GET / HTTP/1.1\r\n"):
        session = listening()
        session.receive(data, 0)
        out = written(session)
        assert out.startswith(b"HTTP/1.1 400 "), data
        assert b"connect with ws://" in out
    session = listening()
    session.receive(b"G", 0)
    assert written(session) == b""
