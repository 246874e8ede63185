"""A transport of your own: exec:///path/to/program talks with the standard input and output of a program.

python examples/exec_transport.py

The pipe is a pair of connected sockets, one end of which becomes the program's. Everything above it is the package's:
framings, codecs, back-pressure, time-outs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping

import transport
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.options import Option, table, text
from transport.transports import pipe
from transport.transports.base import Listener, Request


class ExecTransport:
    """The record of the scheme: its name, its options, its traits, and two operations."""

    scheme = "exec"
    options: Mapping[str, Option] = table(Option("args", text, "the program's arguments, separated by spaces"))

    def __init__(self) -> None:
        self.children: list[asyncio.subprocess.Process] = []

    def traits(self, request: Request) -> Traits:
        """What every byte pipe gives: it depends on the framing."""
        return pipe.traits(request)

    async def connect(self, request: Request) -> Owner:
        """Starts the program. Raises ConnectFailed."""
        ours, its = socket.socketpair()
        with its:
            try:
                arguments = request.options.get("args", "").split()
                child = await asyncio.create_subprocess_exec(
                    request.url.path, *arguments, stdin=its.fileno(), stdout=its.fileno()
                )
            except OSError as error:
                ours.close()
                raise pipe.failure(request, error) from error
        ours.setblocking(False)
        self.children.append(child)  # whoever connects waits for its end
        return await pipe.start(request, self.traits(request), ours)  # type: ignore[no-any-return]

    async def listen(self, request: Request) -> Listener:
        """There is nothing to listen on."""
        raise transport.UnsupportedOperation("exec:// can only be connected to")


async def main() -> None:
    """Upper case, by another process."""
    programs = ExecTransport()
    registry = transport.Registry.default().register(programs)
    program = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
    url = f"exec://{sys.executable}"
    conn = await transport.connect(
        url, registry=registry, framing="lines", codec="raw", args=f"-c exec(bytes.fromhex('{program.encode().hex()}'))"
    )
    async with conn:
        for word in (b"field", b"guide"):
            await conn.send(word)
            print((await conn.recv()).decode())
    print("exit status", await programs.children[0].wait())


if __name__ == "__main__":
    transport.run(main())
