"""The client of events in JavaScript, written from docs/events-protocol.md alone, against the server."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.examples.node.running import MISSING, NODE, TALK
from transport.events import Events, History

SCRIPT = str(TALK.parent / "events_talk.js")


def _flags() -> list[str] | None:
    """What gives Node a WebSocket; None where nothing does."""
    for flags in ([], ["--experimental-websocket"]):
        done = subprocess.run([NODE, *flags, "-p", "typeof WebSocket"], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "function":
            return flags
    return None


FLAGS = None if MISSING else _flags()
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(FLAGS is None, reason=MISSING or "this node has no WebSocket (20.10 and later have)"),
]


class Talk:
    """A client in a process of its own."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.told: list[Any] = []

    async def hear(self, what: str) -> list[Any]:
        """The next thing of a kind; what comes before it is kept in `told`."""
        while True:
            line = await self._process.stdout.readline()
            assert line, "the client has ended"
            found = json.loads(line)
            if found[0] == what:
                return list(found[1:])
            self.told.append(found)

    async def do(self, name: str, argument: Any = None) -> Any:
        self._process.stdin.write(json.dumps([name, argument]).encode() + b"\n")
        did, result = await self.hear("done")
        assert did == name
        return result


@asynccontextmanager
async def talking() -> AsyncIterator[Talk]:
    process = await asyncio.create_subprocess_exec(
        NODE,
        *(FLAGS or []),
        SCRIPT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        limit=1 << 20,
    )
    try:
        yield Talk(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_everything_that_a_client_does() -> None:
    app = Events()
    chat = app.namespace("/chat", history=History(count=5), on_gap="oldest")
    echoed: list[Any] = []

    @chat.on("echo")
    def echo(ctx: Any, data: Any) -> Any:
        echoed.append(data)
        return data

    async with app.serve("ws://127.0.0.1:0/events") as serving, talking() as talk:
        room = chat.to("room:7")
        await talk.do("open", {"url": str(serving.url), "namespace": "/chat"})
        await talk.do("join", "room:7")
        await room.emit("n", {"a": [1, -2, 2**40, 0.5, None, True, "ä" * 300]})
        name, data, where = await talk.hear("event")
        assert (name, data) == ("n", {"a": [1, -2, 2**40, 0.5, None, True, "ä" * 300]})
        assert where == {"room": "room:7", "offset": 1, "replay": False}
        values = [list(range(-40, 300, 7)), {"x": {"y": [{"z": -(2**40)}]}}, "é" * 70_000, -0.25]
        for value in values:
            assert await talk.do("call", value) == value
        await talk.do("emit", "e")
        assert echoed == [*values, "e"]
        (ctx,) = chat.contexts()
        assert await ctx.call("add", 5) == 6

        await talk.do("drop")
        await talk.hear("closed")
        for number in (2, 3):
            await room.emit("n", number)
        await ctx.send("own", 4)
        await talk.do("again")
        while len([told for told in talk.told if told[0] == "caughtUp"]) < 2:
            talk.told.append(["caughtUp", *await talk.hear("caughtUp")])
        replayed = [(told[2], told[3]["room"], told[3]["replay"]) for told in talk.told if told[0] == "event"]
        assert sorted(replayed) == [(2, "room:7", True), (3, "room:7", True), (4, "", True)]
        assert await talk.do("call", "after") == "after"

        state = await talk.do("state")
        await talk.do("drop")
        for number in range(20):
            await room.emit("n", number)
        while await app.log.retain():
            pass
        async with talking() as other:  # a program that was started again, and missed more than is kept
            await other.do("open", {"url": str(serving.url), "namespace": "/chat", "state": state})
            if not any(told[0] == "gap" for told in other.told):
                other.told.append(["gap", *await other.hear("gap")])
            (gap,) = [told[2] for told in other.told if told[0] == "gap"]
            assert (gap["why"], gap["policy"], gap["offset"], gap["lost"]) == ("trimmed", "oldest", 18, 15)
            while len([told for told in other.told if told[0] == "event"]) < 5:
                other.told.append(["event", *await other.hear("event")])
            assert [told[2] for told in other.told if told[0] == "event"] == [15, 16, 17, 18, 19]
            assert await other.do("call", "new numbers") == "new numbers"
        assert app.statistics()["resumed"] == 2
