"""Two network namespaces of their own with a veth pair between them, in each of which a program of this file runs.

Nothing is left behind: the namespaces are anonymous and end with the programs, which end with their standard input.
Run as a program: `namespaces.py server` or `namespaces.py client`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import transport

HOSTS = {"server": "10.81.0.1", "client": "10.81.0.2"}
PORT = 7001
ROOT = Path(__file__).parents[2]
ANSWER_S = 15.0


class NoNamespaces(Exception):
    """Why there can be none, in one line."""


def run(*words: str) -> None:
    """Runs a command of the system; NoNamespaces if that fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoNamespaces(f"{words[0]}: {error}") from error
    if done.returncode:
        raise NoNamespaces(f"{' '.join(words)}: {done.stderr.strip()}")


class Two:
    """The pair. Use `with`, then `tell` a side what to do.

    Raises:
        NoNamespaces: not here.
    """

    def __init__(self, mtu: int = 1500, **options: Any) -> None:
        self._mtu = mtu
        self._options = options
        self._programs: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Two:
        if sys.platform != "linux" or os.geteuid():
            raise NoNamespaces("needs Linux and root")
        try:
            for side in HOSTS:
                self._programs[side] = subprocess.Popen(
                    ["unshare", "--net", sys.executable, "-m", "tests.transports.namespaces", side],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                )  # fmt: skip
                self._hear(side)
            other = str(self._programs["client"].pid)
            self.ip("server", "link", "add", "veth", "type", "veth", "peer", "name", "veth", "netns", other)
            for side, host in HOSTS.items():
                self.ip(side, "address", "add", f"{host}/24", "dev", "veth")
                self.mtu(side, self._mtu)
                self.ip(side, "link", "set", "veth", "up")
            self.tell("server", "serve", **self._options)
            self.tell("client", "connect", **self._options)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for program in self._programs.values():
            assert program.stdin is not None and program.stdout is not None
            with contextlib.suppress(OSError):
                program.stdin.close()
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
            program.stdout.close()

    def ip(self, side: str, *words: str) -> None:
        """The command `ip`, within the namespace of a side."""
        run("nsenter", "--net", "--target", str(self._programs[side].pid), "ip", *words)

    def mtu(self, side: str, size: int) -> None:
        """What the device of a side sends, and takes."""
        self.ip(side, "link", "set", "veth", "mtu", str(size))

    def start(self, side: str, what: str, **arguments: Any) -> None:
        """Has a side do something; `finish` waits for it."""
        pipe = self._programs[side].stdin
        assert pipe is not None
        pipe.write(json.dumps([what, arguments]) + "\n")
        pipe.flush()

    def finish(self, side: str) -> Any:
        """What came of it."""
        return self._hear(side)

    def tell(self, side: str, what: str, **arguments: Any) -> Any:
        """Both."""
        self.start(side, what, **arguments)
        return self.finish(side)

    def _hear(self, side: str) -> Any:
        pipe = self._programs[side].stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise NoNamespaces(f"the program of the {side} has ended with {self._programs[side].wait(10)}")
        return json.loads(line)


class Program:
    """One side: does what it is told, a line for each, until there is no more."""

    def __init__(self) -> None:
        self.conn: Any = None
        self.server: Any = None

    async def serve(self, **options: Any) -> None:
        self.server = await transport.serve(f"rudp://0.0.0.0:{PORT}", codec="raw", **options)

    async def connect(self, **options: Any) -> None:
        self.conn = await transport.connect(f"rudp://{HOSTS['server']}:{PORT}", codec="raw", **options)

    async def accept(self) -> None:
        self.conn = await self.server.accept()

    async def send(self, size: int, count: int) -> dict[str, int]:
        """So many messages, until all are acknowledged; the counters then."""
        for number in range(count):
            await self.conn.send(body(size, number))
        await self.conn.flush()
        return await self.look()

    async def take(self, size: int, count: int) -> bool:
        """Whether so many came as they were sent."""
        for number in range(count):
            if await self.conn.recv() != body(size, number):
                return False
        return True

    async def look(self) -> dict[str, int]:
        counters: dict[str, int] = self.conn.statistics().counters
        return counters

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        print(json.dumps("ready"), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            what, arguments = json.loads(line)
            async with asyncio.timeout(ANSWER_S):
                answer = await getattr(self, what)(**arguments)
            print(json.dumps(answer), flush=True)
        for end in (self.conn, self.server):
            if end is not None:
                end.abort() if end is self.conn else await end.close(grace=0)


def body(size: int, number: int) -> bytes:
    """A message that is like no other."""
    block = number.to_bytes(4, "big") + bytes(range(251))
    return (block * (size // len(block) + 1))[:size]


def main() -> int:
    asyncio.run(Program().run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
