"""Chat: a server that passes on what each client says. A client that reads too slowly is put out, nobody waits for it.

python examples/chat.py                                   a server and three clients in one process
python examples/chat.py serve tcp://127.0.0.1:7000
python examples/chat.py join tcp://127.0.0.1:7000 NAME    what you type goes to everybody
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import transport

NAME_TAKEN = 1  # close codes 1 to 999 are the application's


class Room:
    """Who is here. `serve(url, room.handle)` opens it."""

    def __init__(self) -> None:
        self.members: dict[str, transport.Connection] = {}

    async def handle(self, conn: transport.Connection) -> None:
        """One client, from its name to its end."""
        name = str(await conn.recv())
        if name in self.members:
            await conn.close(NAME_TAKEN, f"{name} is here already")
            return
        self.members[name] = conn
        self.tell({"joined": name, "here": sorted(self.members)})
        try:
            async for text in conn:
                self.tell({"from": name, "text": text})
        finally:
            del self.members[name]
            self.tell({"left": name})

    def tell(self, message: dict[str, Any]) -> None:
        """Gives everybody a message. `send_nowait` never waits, so no slow member holds up the others."""
        for conn in list(self.members.values()):
            try:
                conn.send_nowait(message)
            except transport.WouldBlock:
                conn.abort()  # a goodbye would wait behind what it does not read
            except transport.ConnectionClosed:
                pass  # its own handler finds out


async def serve(url: str) -> None:
    """Serves until it is interrupted."""
    async with transport.serve(url, Room().handle) as server:
        print("serving", server.url)
        await server.serve_forever()


async def join(url: str, name: str) -> None:
    """Types what comes, sends what is typed."""
    async with transport.connect(url) as conn:
        await conn.send(name)

        async def show() -> None:
            async for message in conn:
                print(message)

        shown = asyncio.create_task(show())
        while not shown.done() and (line := await asyncio.to_thread(sys.stdin.readline)):
            await conn.send(line.rstrip("\n"))
        shown.cancel()
    print(conn.close_reason or "bye")


async def demo() -> None:
    """Three clients; each says one thing; the fourth wants a name that is taken."""
    async with transport.serve("tcp://127.0.0.1:0", Room().handle) as server:
        clients = {}
        for name in ("ada", "bob", "cyd"):
            clients[name] = conn = await transport.connect(server.url)
            await conn.send(name)
            print(name, "sees", await conn.recv())
        for name, conn in clients.items():
            await conn.send(f"hello from {name}")
        for name, conn in clients.items():
            said: list[str] = []
            while len(said) < len(clients):
                message = await conn.recv()
                if "text" in message:
                    said.append(message["text"])
            print(name, "heard", sorted(said))
        async with transport.connect(server.url) as late:
            await late.send("ada")
            try:
                await late.recv()
            except transport.ConnectionLost as error:
                print("refused:", error.code, error.reason)
        for conn in clients.values():
            await conn.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            transport.run(demo())
        case ["serve", url]:
            transport.run(serve(url))
        case ["join", url, name]:
            transport.run(join(url, name))
        case _:
            sys.exit(__doc__)
