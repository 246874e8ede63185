"""How a command lives: on one event loop, until it is done or a signal ends it, with one line for what went wrong.

The first SIGINT or SIGTERM asks for the end, so that there is a summary; a second one cancels. It must never leave a
handler of its own installed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import transport
from transport.tools.live import Output, printable

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
FAILED = 2  # exit status: usage or connection
INTERRUPTED = 130


class Stopped(Exception):
    """A signal came while something was waited for."""


class Stop:
    """The wish to end. Use it with `with`, on the main thread; elsewhere there are no signals to watch."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._wished = asyncio.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        for number in SIGNALS:
            before = signal.getsignal(number)
            try:
                self._loop.add_signal_handler(number, self.wish)
            except (NotImplementedError, RuntimeError, ValueError):
                break
            self._before[number] = before
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            self._loop.remove_signal_handler(number)
            if before is not None:  # one that Python did not set
                signal.signal(number, before)

    def wish(self) -> None:
        """Asks for the end; asked again, cancels whatever is still under way."""
        if self._wished.is_set() and self._task is not None:
            self._task.cancel()
        self._wished.set()

    @property
    def wished(self) -> bool:
        """Whether the end was asked for."""
        return self._wished.is_set()

    async def within(self, seconds: float) -> bool:
        """Waits so long, or until the end is asked for; whether it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._wished.wait()
        except TimeoutError:
            pass
        return self._wished.is_set()

    async def unless(self, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled if the end is asked for first. Raises Stopped then."""
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._wished.wait())
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Stopped
            return task.result()
        finally:
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)


def run(name: str, command: Callable[[Any, Output, Stop], Coroutine[Any, Any, int]], given: Any) -> int:
    """Runs one command to its exit status.

    What the package or the system refused becomes one line on standard error, and status 2.

    Args:
        name: of the command, for that line.
        command: called with the arguments, the output and the wish to end.
        given: the parsed arguments, with `json` and `quiet`.

    Raises:
        OutputClosed: whoever read the output has gone.
    """

    async def main() -> int:
        out = Output(as_json=given.json, quiet=given.quiet)
        with Stop() as stop:
            try:
                return await command(given, out, stop)
            except Stopped:
                return INTERRUPTED
            finally:
                out.end_status()

    try:
        return transport.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except (transport.TransportError, OSError) as error:
        return fail(name, str(error) or type(error).__name__)


def fail(name: str, reason: str) -> int:
    """Says in one line why the command can't go on. Returns the exit status."""
    sys.stderr.write(f"transport {name}: {printable(reason)}\n")
    return FAILED
