"""A room of `transport.events` on a page in a browser: live, and with what was missed after a reload or a lost line.

A page speaks JSON over WebSocket. Behind each page stands a client of the events app in the server's own process, which
has all the promises of one: `bridge` passes both directions on. Its cursor, a few hundred bytes, is kept by the page
(sessionStorage), so that a page that comes back goes on where it was, also after the server was started again.

python examples/browser_room.py                                         a server and a page without a browser
python examples/browser_room.py serve ws://127.0.0.1:8000/ws room.db    then open http://127.0.0.1:8000/ in two windows
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import transport
from transport import HttpResponse
from transport.events import Events, History, Message, connect_events
from transport.log import MemoryLog, SQLiteLog

ROOM = "room:7"
CHARS_MAX = 200

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A room</title>
<p id="state">connecting</p>
<form id="form"><input id="text" maxlength="200" autocomplete="off" placeholder="say something"></form>
<ul id="lines"></ul>
<script>
const part = (id) => document.getElementById(id);
const line = (text) => part("lines").append(Object.assign(document.createElement("li"), { textContent: text }));
let socket;

function connect() {
  socket = new WebSocket(new URL("/ws", location.href.replace(/^http/, "ws")));
  socket.onopen = () => socket.send(JSON.stringify({ cursor: sessionStorage.getItem("cursor") }));
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if ("joined" in message) part("state").textContent = "connected";
    if ("said" in message) line((message.replay ? "missed: " : "") + message.said);
    if ("gap" in message) line("some lines are lost: " + message.gap);
    if ("cursor" in message) sessionStorage.setItem("cursor", message.cursor);
  };
  socket.onclose = () => { part("state").textContent = "lost"; setTimeout(connect, 500 + 1000 * Math.random()); };
}

part("form").onsubmit = (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;  // what is typed stays
  socket.send(JSON.stringify({ say: part("text").value }));
  part("text").value = "";
};
connect();
</script>
</html>
"""


class PageCursor:
    """Kept by the page: what `connect_events` takes as its cursor."""

    def __init__(self, conn: transport.Connection, text: Any) -> None:
        self._conn = conn
        self._state = base64.b64decode(text) if isinstance(text, str) else None

    def load(self) -> bytes | None:
        """What the page brought."""
        return self._state

    def save(self, state: bytes) -> None:
        """Behind the events that it stands for, for the connection keeps its order. An older one does, too."""
        with contextlib.suppress(transport.ConnectionClosed, transport.WouldBlock):
            self._conn.send_nowait({"cursor": base64.b64encode(state).decode()})


def made(log: Any) -> Events:
    """The app: whoever is in the room hears what is said there."""
    app = Events(log, resumes_per_s=1000)  # every page comes by way of this process
    chat = app.namespace("/chat", history=History(joiners="oldest"))

    @chat.on("say")
    async def say(ctx: Any, text: Any) -> None:
        if isinstance(text, str) and text.strip():
            await chat.to(ROOM).emit("said", text[:CHARS_MAX])

    return app


def shown(message: Message) -> dict[str, Any]:
    """What a page is told of an event."""
    if message.gap is not None:
        return {"gap": message.gap.reason}
    return {"said": message.event, "replay": message.replay}


async def bridge(conn: transport.Connection, url: Any) -> None:
    """One page, as a client of the app."""
    first = await conn.recv()  # a page begins with its cursor
    cursor = PageCursor(conn, first.get("cursor") if isinstance(first, dict) else None)
    async with connect_events(url, namespace="/chat", cursor=cursor) as client:
        room = client.subscribe(ROOM)
        await room.begin()
        await conn.send({"joined": ROOM})

        async def tell() -> None:
            async for message in room:
                await conn.send(shown(message))  # a page that reads slowly holds up itself alone

        telling = asyncio.create_task(tell())
        try:
            async for message in conn:
                if isinstance(message, dict) and "say" in message:
                    await client.emit("say", message["say"])
        finally:
            telling.cancel()


@asynccontextmanager
async def serving(url: str, log: Any) -> AsyncIterator[transport.Server]:
    """The page at `/`, its WebSocket at the path of the URL, and the app behind both."""
    page = HttpResponse(PAGE, content_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})
    async with made(log).serve(f"memory://room-{id(log)}") as inner:

        async def handle(conn: transport.Connection) -> None:
            await bridge(conn, inner.url)

        async with transport.serve(url, handle, codec="json", routes={"/": page}) as server:
            yield server


async def serve(url: str, path: str) -> None:
    """Serves until it is interrupted."""
    async with serving(url, SQLiteLog(path)) as server:
        print(f"serving http://{server.url.host}:{server.url.port}/")
        await server.serve_forever()


async def visit(url: Any, cursor: str | None, say: list[str], count: int) -> tuple[str | None, list[Any]]:
    """What a page does: says something, hears so many lines, and keeps its cursor."""
    heard: list[Any] = []
    async with transport.connect(url, codec="json") as conn:
        await conn.send({"cursor": cursor})
        while "joined" not in (message := await conn.recv()):
            cursor = message.get("cursor", cursor)
        for text in say:
            await conn.send({"say": text})
        while len(heard) < count or "cursor" not in message:
            message = await conn.recv()
            cursor = message.get("cursor", cursor)
            if "cursor" not in message:
                heard.append(message)
    return cursor, heard


async def demo() -> None:
    """A page that is there, is closed, and comes back."""
    async with serving("ws://127.0.0.1:0/ws", MemoryLog()) as server:
        cursor, heard = await visit(server.url, None, ["hello"], 1)
        print(heard)
        await visit(server.url, None, ["you have missed this"], 1)
        print((await visit(server.url, cursor, [], 1))[1])


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            transport.run(demo())
        case ["serve", url, path]:
            transport.run(serve(url, path))
        case _:
            sys.exit(__doc__)
