"""Echo: one handler, any scheme.

python examples/echo.py                              both ends in one process
python examples/echo.py serve tcp://127.0.0.1:7000   only the server, until Ctrl-C
python examples/echo.py call tcp://127.0.0.1:7000    only the client
"""

from __future__ import annotations

import sys
from typing import Any

import transport


async def echo(conn: transport.Connection) -> None:
    """Gives every message back. Its connection is closed when it returns."""
    async for message in conn:
        await conn.send(message)


async def serve(url: str) -> None:
    """Serves until it is interrupted."""
    async with transport.serve(url, echo) as server:
        print("serving", server.url)
        await server.serve_forever()


async def call(url: object) -> None:
    """Sends three messages and prints what comes back."""
    async with transport.connect(str(url)) as conn:
        messages: list[Any] = ["hello", [1, 2.5, b"\x00"], {"nested": {"list": []}}]
        for message in messages:
            await conn.send(message)
            print(await conn.recv())


async def both() -> None:
    """A server on a port that the system chooses, and a client."""
    async with transport.serve("tcp://127.0.0.1:0", echo) as server:
        await call(server.url)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            transport.run(both())
        case ["serve", url]:
            transport.run(serve(url))
        case ["call", url]:
            transport.run(call(url))
        case _:
            sys.exit(__doc__)
