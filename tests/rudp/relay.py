"""A NAT in user space: datagrams to one port go on to a target, from a port that changes, or from another host.

`python -m tests.rudp.relay HOST PORT TARGET_HOST TARGET_PORT SECONDS` runs one that rebinds every so many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Any


class Relay:
    """One client and one target.

    Args:
        target: where to.
        host: what to listen on.
        every: rebinds after so many datagrams of the client; 0 for never.
        hosts: what the target sees, one after the other; any address, each time another port, when empty.
        port: to listen on; any when 0.
        kept: how many old ports still lead to the client, as a NAT's entries do for a while.

    Attributes:
        address: what the client sends to.
        passed: datagrams, both ways.
        rebinds: how often the target has seen another address.
    """

    def __init__(self, target: Any, host: str = "127.0.0.1", every: int = 0, hosts: tuple[str, ...] = (),
                 port: int = 0, kept: int = 0) -> None:  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._every = every
        self._hosts = hosts
        self._client: Any = None
        self._front = self._open(host, port)
        self.address = self._front.getsockname()
        self.passed = 0
        self.rebinds = -1
        self._backs: list[socket.socket] = []
        self._kept = kept
        self.rebind()
        self._loop.add_reader(self._front, self._from_client)

    def _open(self, host: str, port: int = 0) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        sock.bind((host, port))
        return sock

    def rebind(self) -> None:
        """The target sees another address from now on; what it sends to an old one is lost in the end."""
        self._drop(self._kept)
        self.rebinds += 1
        host = self._hosts[self.rebinds % len(self._hosts)] if self._hosts else ""
        back = self._open(host)
        self._backs.append(back)
        self._loop.add_reader(back, self._from_target, back)

    def _drop(self, kept: int) -> None:
        while len(self._backs) > kept:
            back = self._backs.pop(0)
            self._loop.remove_reader(back)
            back.close()

    def _from_client(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, self._client = self._front.recvfrom(65_536)
                self.passed += 1
                if self._every and self.passed % self._every == 0:
                    self.rebind()
                self._backs[-1].sendto(data, self._target)

    def _from_target(self, back: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = back.recv(65_536)
                self.passed += 1
                self._front.sendto(data, self._client)

    def close(self) -> None:
        self._drop(0)
        self._loop.remove_reader(self._front)
        self._front.close()


async def main(arguments: list[str]) -> None:
    """As a process of its own, until its input ends."""
    host, port, target_host, target_port, seconds = arguments
    relay = Relay((target_host, int(target_port)), host, port=int(port), kept=10)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    over = loop.run_in_executor(None, sys.stdin.read)
    while not over.done():
        await asyncio.sleep(float(seconds))
        relay.rebind()
    relay.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
