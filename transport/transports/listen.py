"""The server side of every byte pipe: accepted sockets become machines with owners, in bounded numbers.

Exists so that tcp, tls and unix differ only in how a socket is bound and in what is said before the first message.
It must never let connections that do not finish their handshake keep out those that would.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.accept import Acceptor
from transport.drive.stream import StreamDriver
from transport.drive.timers import clock_of
from transport.net.connect import apply_options
from transport.transports import pipe
from transport.transports.base import PipeInfo, Request
from transport.url import Url

log = logging.getLogger("transport")


@dataclass(slots=True)
class Shared:
    """Listening sockets for several processes: a group for each, which may share sockets.

    Args:
        url: with the real port.
        groups: one list of sockets for each process.
        remove: called once, before they are closed.
        links: where what came to the wrong process is passed on: for each process the end that it reads, and the end
            that the others write. None where nothing can.
        secret: that all of them need.
    """

    url: Url
    groups: list[list[socket.socket]]
    remove: Callable[[], None] | None = None
    links: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    secret: bytes = b""

    def close(self) -> None:
        """Closes this process's copies. Idempotent."""
        if self.remove is not None:
            remove, self.remove = self.remove, None
            remove()
        for group in (*self.groups, *self.links):
            for sock in group:
                sock.close()


class PipeListener:
    """One or more listening sockets (a name may stand for several addresses), which it owns.

    Args:
        request: what to build on every connection.
        traits: of those connections.
        socks: bound, listening, non-blocking.
        url: with the real port.
        secure: called for every connection; the loop's arguments for a TLS handshake. None without TLS.
        on_stop: called once, before the listening sockets are closed.
    """

    def __init__(
        self,
        request: Request,
        traits: Traits,
        socks: list[socket.socket],
        url: Url,
        *,
        secure: Callable[[], Mapping[str, Any]] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self.url = url
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._traits = traits
        self._clock = clock_of(self._loop)
        self._secure = secure
        self._on_stop = on_stop
        self._native = secure is None and pipe.can_watch(self._loop, socks[0])
        self._opening: dict[asyncio.Task[None], tuple[float, socket.socket]] = {}  # half-open, oldest first
        self._crowded: asyncio.TimerHandle | None = None
        self._failed = 0
        self._dropped = 0
        self._acceptors = [Acceptor(self._loop, sock, self._on_socket) for sock in socks]

    def _on_socket(self, sock: socket.socket) -> None:
        try:
            apply_options(sock, self._request.options)
            info = PipeInfo(self.url, self._traits, sock.getsockname(), sock.getpeername())
        except OSError:  # reset before it was accepted
            sock.close()
            return
        machine = pipe.make_machine(self._request, self._clock())
        if self._native:
            self._own(pipe.socket_driver(self._loop, machine, sock), info)
            return
        task = self._loop.create_task(self._open(sock, machine, info))
        self._opening[task] = (self._loop.time(), sock)
        task.add_done_callback(self._opened)
        if len(self._opening) >= limits.HANDSHAKES_MAX and self._crowded is None:
            for acceptor in self._acceptors:
                acceptor.pause()
            self._watch_oldest()

    async def _open(self, sock: socket.socket, machine: Any, info: PipeInfo) -> None:
        try:
            arguments = {} if self._secure is None else self._secure()
            driver = await pipe.loop_driver(self._loop, machine, sock, server=True, **arguments)
        except OSError as error:
            sock.close()
            self._failed += 1
            log.debug("%s: handshake with %s failed: %s", self.url, info.remote, error)
            return
        self._own(driver, info)

    def _own(self, driver: StreamDriver, info: PipeInfo) -> None:
        try:
            pipe.own(self._request, driver, info)
        except ConnectionRefusedError:
            pass  # counted by who refused

    def _opened(self, task: asyncio.Task[None]) -> None:
        _, sock = self._opening.pop(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            sock.close()
        if error is not None:
            self._loop.call_exception_handler(
                {"message": "an accepted connection could not be set up, it is closed", "exception": error}
            )
        if self._crowded is not None and len(self._opening) < limits.HANDSHAKES_MAX:
            self._crowded.cancel()
            self._crowded = None
            for acceptor in self._acceptors:
                acceptor.resume()

    def _watch_oldest(self) -> None:
        """There is no room for more: cuts the oldest handshakes off once they have had their time."""
        now = self._loop.time()
        for task, (began, _) in list(self._opening.items()):
            due = began + limits.HANDSHAKE_CROWDED_S
            if due > now:
                self._crowded = self._loop.call_at(due, self._watch_oldest)
                return
            self._dropped += 1
            task.cancel()
        self._crowded = self._loop.call_later(limits.HANDSHAKE_CROWDED_S, self._watch_oldest)

    @property
    def backoffs(self) -> int:
        """How often accepting had to wait for descriptors."""
        return sum(acceptor.backoffs for acceptor in self._acceptors)

    def statistics(self) -> dict[str, int]:
        """Handshakes that are under way, that failed, and that were cut off for room."""
        return {
            "handshakes": len(self._opening),
            "handshakes_failed": self._failed,
            "handshakes_dropped": self._dropped,
        }

    def stop(self) -> None:
        """Accepts no more. Idempotent."""
        if self._on_stop is not None:
            on_stop, self._on_stop = self._on_stop, None
            on_stop()
        for acceptor in self._acceptors:
            acceptor.stop()

    async def close(self) -> None:
        """Accepts no more and cuts what has not finished its handshake."""
        self.stop()
        if self._crowded is not None:
            self._crowded.cancel()
            self._crowded = None
        for task in list(self._opening):
            task.cancel()
        if self._opening:
            await asyncio.wait(list(self._opening))
        for acceptor in self._acceptors:
            await acceptor.wait_stopped()
