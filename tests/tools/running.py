"""Commands under test: inside the test's own loop, or as processes; both say JSON, a line for each event."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Any

from tests.meta import tree
from transport import cli
from transport.tools.life import Stop
from transport.tools.live import Output

Event = dict[str, Any]


class Lines:
    """A stream in the place of standard output, whose JSON lines a test waits for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        raise OSError("no file")

    def write(self, text: str) -> None:
        self.queue.put_nowait(json.loads(text))

    def flush(self) -> None:
        pass


class Running:
    """A command on the running loop."""

    def __init__(self, *arguments: str) -> None:
        given = cli.parser().parse_args([*arguments, "--json"])
        self._lines = Lines()
        self.stop = Stop()
        self.seen: list[Event] = []
        command = import_module(f"transport.tools.{given.command}")
        self.task = asyncio.ensure_future(command.run(given, Output(as_json=True, stream=self._lines), self.stop))
        self.stop._task = self.task
        self.task.add_done_callback(lambda _: self._lines.queue.put_nowait(None))

    async def event(self, kind: str, **wanted: Any) -> Event:
        """The next event of this kind, with these fields."""
        while True:
            found = await self._lines.queue.get()
            if found is None:
                self._lines.queue.put_nowait(None)
                raise AssertionError(f"it ended without {kind}: {self.seen}") from self.task.exception()
            self.seen.append(found)
            if found["event"] == kind and all(found[name] == value for name, value in wanted.items()):
                return found

    async def done(self) -> tuple[int, Event]:
        """Waits for the end; the exit status and the summary."""
        status = await self.task
        return status, await self.event("summary")

    async def end(self) -> tuple[int, Event]:
        """Asks for the end and waits for it."""
        self.stop.wish()
        return await self.done()


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[Running, str]]:
    """A command that serves, and the URL it serves at; it is ended behind the test."""
    command = Running(*arguments)
    try:
        yield command, (await command.event("listening"))["url"]
    finally:
        if not command.task.done():
            command.stop.wish()
            await asyncio.wait([command.task])
    assert command.task.result() == 0


async def ran(*arguments: str) -> tuple[int, Event, list[Event]]:
    """A command that ends by itself: exit status, summary, all events."""
    command = Running(*arguments)
    status, summary = await command.done()
    return status, summary, command.seen


COMMAND = [sys.executable, "-W", "error", "-m", "transport"]


@contextmanager
def process(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command as a process of its own, killed behind the test if it still runs."""
    started = subprocess.Popen(
        [*COMMAND, *arguments], cwd=tree.ROOT, encoding="utf-8",
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
    )  # fmt: skip
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.communicate()


def finished(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a process, run to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=tree.ROOT, encoding="utf-8", capture_output=True, check=False, timeout=15,
        env={**os.environ, **environment},
    )  # fmt: skip


def url_of(line: str) -> str:
    """The URL in the line that says where a command listens."""
    return next(word for word in line.replace(",", " ").split() if "://" in word)
