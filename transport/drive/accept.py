"""Takes connections from a listening socket, a bounded number a tick, and backs off when descriptors run out.

It must never stop for good because of what one peer did, and never spin while the system has nothing to give.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from transport import limits

log = logging.getLogger("transport")
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
PASSING = frozenset(  # that one connection's trouble only (accept(2), "Error handling")
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "EPROTO", "EPERM", "EINTR", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "ENETUNREACH",
    )
    if hasattr(errno, name)
)  # fmt: skip


class _Recorder(socket.socket):
    """A listening socket that remembers what it accepted: `sock_accept` loses it when it is cancelled just then."""

    accepted: socket.socket | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        sock, address = super().accept()
        self.accepted = sock
        return sock, address

    def forget(self) -> None:
        """Closes what nobody took."""
        if self.accepted is not None:
            self.accepted.close()


class Acceptor:
    """Calls `on_socket` with every accepted, non-blocking socket. Owns the listening socket.

    Attributes:
        backoffs: how often it had to wait for descriptors or memory.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_socket: Callable[[socket.socket], None]
    ) -> None:
        self.backoffs = 0
        self._loop = loop
        self._sock = sock
        self._on_socket = on_socket
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._watching = False
        self._paused = False
        self._stopped = False
        self._watch()

    def _watch(self) -> None:
        self._timer = None
        if self._stopped or self._paused or self._watching:
            return
        try:
            self._loop.add_reader(self._sock.fileno(), self._on_readable)
        except NotImplementedError:
            if self._task is None:  # one that has been told to pause may not have come to it yet
                if not isinstance(self._sock, _Recorder):
                    self._sock = _Recorder(fileno=self._sock.detach())
                    self._sock.setblocking(False)
                self._task = self._loop.create_task(self._portable())
                self._task.add_done_callback(self._portable_ended)
        else:
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._sock.fileno())

    def _on_readable(self) -> None:
        for _ in range(limits.ACCEPTS_PER_TICK):
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in PASSING:
                    continue
                self._back_off(error)
                return
            self._give(sock)
            if not self._watching:
                return

    def _give(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            self._on_socket(sock)
        except Exception as error:
            sock.close()
            self._loop.call_exception_handler(
                {"message": "an accepted connection could not be set up, it is closed", "exception": error}
            )

    def _back_off(self, error: OSError) -> None:
        self._unwatch()
        self.backoffs += 1
        if error.errno not in EXHAUSTED:
            log.error("accept failed: %s", error)
        elif self.backoffs == 1:
            log.warning("accept is out of resources (%s), trying again every %s s", error, limits.ACCEPT_BACKOFF_S)
        self._timer = self._loop.call_later(limits.ACCEPT_BACKOFF_S, self._watch)

    async def _portable(self) -> None:
        listening = self._sock
        assert isinstance(listening, _Recorder)
        count = 0
        while not self._paused and not self._stopped:
            count += 1
            if count % limits.ACCEPTS_PER_TICK == 0:  # sock_accept does not yield while connections wait
                await asyncio.sleep(0)
            try:
                sock, _ = await self._loop.sock_accept(listening)
            except asyncio.CancelledError:
                listening.forget()
                raise
            except OSError as error:
                if error.errno in PASSING:
                    continue
                self._back_off(error)
                return
            listening.accepted = None
            self._give(sock)

    def _portable_ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if self._stopped:
            self._sock.close()
        elif not task.cancelled() and isinstance(error := task.exception(), Exception):
            log.error("accept failed: %r", error)
            self._timer = self._loop.call_later(limits.ACCEPT_BACKOFF_S, self._watch)
        elif self._timer is None:  # resumed before the task saw that it had been paused
            self._watch()

    def pause(self) -> None:
        """Leaves connections in the kernel's queue until `resume`; where sockets can't be watched one more may come."""
        self._paused = True
        self._unwatch()

    def resume(self) -> None:
        """Accepts again."""
        self._paused = False
        if self._timer is None:
            self._watch()

    def stop(self) -> None:
        """Accepts no more and closes the listening socket. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()  # the socket is closed when the loop has let go of it
        else:
            self._sock.close()

    async def wait_stopped(self) -> None:
        """Returns when the listening socket is closed, after `stop`."""
        if self._task is not None:
            await asyncio.wait([self._task])
