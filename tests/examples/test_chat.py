"""The chat example puts out who reads too slowly, and nobody else notices."""

from __future__ import annotations

import pytest

from tests.examples.loading import load
from transport import CloseCode, ConnectionLost, connect, serve


@pytest.mark.asyncio
async def test_a_slow_member_is_put_out() -> None:
    room = load("chat").Room()
    async with serve("tcp://127.0.0.1:0?high_water=64k", room.handle) as server:
        slow = await connect(server.url, channel_window=4096, connection_window=4096)  # and it reads nothing
        await slow.send("slow")
        quick = await connect(server.url)
        await quick.send("quick")
        assert "joined" in await quick.recv()
        texts = 0
        while "slow" in room.members:
            await quick.send("x" * 1000)
            texts += 1
            while "text" not in await quick.recv():
                pass
        assert texts < 1000
        with pytest.raises(ConnectionLost) as lost:
            async for _ in slow:
                pass
        assert lost.value.code == CloseCode.LOST
        await quick.send("still here")
        while (await quick.recv()).get("text") != "still here":
            pass
        await quick.close()
        await slow.close()
