"""A page in a browser and its server, both ways on one port: HTTP brings the page, WebSocket all that is said after.

The server counts and tells every page, without being asked; what one page says, all of them show. A page that lost its
connection comes back, and is told how things stand: what was said meanwhile is not missed as long as it is kept.

python examples/browser_page.py                               a server and two clients in one process, no browser
python examples/browser_page.py serve ws://127.0.0.1:8000/ws  then open http://127.0.0.1:8000/ in two windows
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

import transport
from transport import HttpResponse

LINES_KEPT = 20
CHARS_MAX = 200
TICK_S = 0.1

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Both ways</title>
<p><b id="state">connecting</b>, <span id="here">0</span> here; the server has counted to <span id="count">0</span>.</p>
<form id="form"><input id="text" maxlength="200" autocomplete="off" placeholder="say something"></form>
<ul id="lines"></ul>
<script>
const part = (id) => document.getElementById(id);
const line = (text) => Object.assign(document.createElement("li"), { textContent: text });  // text, never HTML
let socket;

function connect() {
  const url = new URL("/ws", location.href.replace(/^http/, "ws"));  // wss:// where the page came by https://
  socket = new WebSocket(url);
  socket.onopen = () => part("state").textContent = "connected";
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if ("lines" in message) part("lines").replaceChildren(...message.lines.map(line));
    if ("said" in message) part("lines").append(line(message.said));
    for (const name of ["here", "count"]) if (name in message) part(name).textContent = message[name];
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


class Wall:
    """What was said, and who reads it. Open it with `serving`."""

    def __init__(self) -> None:
        self.pages: set[transport.Connection] = set()
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.count = 0

    async def handle(self, conn: transport.Connection) -> None:
        """One page: it is told how things stand, then everything that happens."""
        conn.send_nowait({"lines": list(self.lines), "count": self.count})
        self.pages.add(conn)
        self.tell({"here": len(self.pages)})
        try:
            async for message in conn:
                text = message.get("say") if isinstance(message, dict) else None  # anybody may send anything
                if isinstance(text, str) and text.strip():
                    self.lines.append(text[:CHARS_MAX])
                    self.tell({"said": self.lines[-1]})
        finally:
            self.pages.discard(conn)
            self.tell({"here": len(self.pages)})

    def tell(self, message: dict[str, Any]) -> None:
        """Gives every page a message, without waiting for any of them."""
        for conn in list(self.pages):
            try:
                conn.send_nowait(message)
            except transport.WouldBlock:
                conn.abort()  # it does not read; when it comes back it is told how things stand
            except transport.ConnectionClosed:
                pass  # its own handler finds out

    async def tick(self) -> None:
        """News that nobody asked for."""
        while True:
            await asyncio.sleep(TICK_S)
            self.count += 1
            self.tell({"count": self.count})


def serving(url: str, wall: Wall) -> Any:
    """The page at `/`, the WebSocket at the path of the URL. A page of another site is refused by its Origin."""
    page = HttpResponse(PAGE, content_type="text/html; charset=utf-8", headers={"Cache-Control": "no-store"})
    return transport.serve(url, wall.handle, codec="json", routes={"/": page})


async def serve(url: str) -> None:
    """Serves until it is interrupted."""
    wall = Wall()
    async with serving(url, wall) as server:
        print(f"serving http://{server.url.host}:{server.url.port}/")
        ticking = asyncio.create_task(wall.tick())
        try:
            await server.serve_forever()
        finally:
            ticking.cancel()


async def fetch(host: str, port: int) -> str:
    """The page, as a browser asks for it."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


async def until(conn: transport.Connection, name: str) -> Any:
    """The next message of a kind."""
    while name not in (message := await conn.recv()):
        pass
    return message[name]


async def demo() -> None:
    """What a browser does, twice, without one."""
    wall = Wall()
    async with serving("ws://127.0.0.1:0/ws", wall) as server:
        answer = await fetch(server.url.host, server.url.port)
        print(answer.splitlines()[0], "<title>Both ways</title>" in answer)
        ticking = asyncio.create_task(wall.tick())
        async with (
            transport.connect(server.url, codec="json") as ann,
            transport.connect(server.url, codec="json") as bob,
        ):
            await until(bob, "here")
            await ann.send({"say": "hello"})
            print("ann reads", await until(ann, "said"))
            print("bob reads", await until(bob, "said"))
            print("nobody asked:", await until(bob, "count") > 0)
        async with transport.connect(server.url, codec="json") as late:
            print("late reads", await until(late, "lines"))
        ticking.cancel()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            transport.run(demo())
        case ["serve", url]:
            transport.run(serve(url))
        case _:
            sys.exit(__doc__)
