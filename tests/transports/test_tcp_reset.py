"""A reset right behind a last message: the message is delivered, and the end is noticed on either loop."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

import transport
from transport import limits
from transport.errors import ConnectionLost
from transport.stream.preface import Preface


@pytest.mark.asyncio
async def test_a_reset_behind_a_last_message_is_noticed() -> None:
    # libuv stops to watch a socket at its first error and calls back once: the data read then hid the reset for good.
    async with transport.serve("tcp://127.0.0.1:0") as server:
        peer = socket.create_connection((server.url.host, server.url.port))
        peer.sendall(Preface(codec="msgpack").encode())
        conn = await server.accept()
        peer.sendall(b"\x00\x01\x01")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert await conn.recv() == 1
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionLost):
                await conn.recv()
            await conn.wait_closed()


@pytest.mark.asyncio
async def test_empty_streams_give_their_place_back() -> None:
    async with transport.serve("tcp://127.0.0.1:0") as server, transport.connect(server.url) as conn:
        peer = await server.accept()
        for _ in range(limits.STREAMS_MAX + 1):
            async with await conn.open_stream():
                pass
            stream = await peer.accept_stream()
            assert await stream.read() == b""
            await peer.ping()  # what gives the place back has crossed
        await peer.close()
