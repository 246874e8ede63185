"""Event loops that cannot watch descriptors, like the Windows proactor: their transports have to move the bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

UvloopBase: Any
try:
    from uvloop import Loop as UvloopBase
except ImportError:  # not on Windows, not on PyPy
    UvloopBase = None


def _refuse(*_: object) -> Any:
    raise NotImplementedError


REFUSED: Any = _refuse


class PortableLoop(asyncio.SelectorEventLoop):
    """asyncio's own, with the public calls taken away that its transports do not need."""

    add_reader = add_writer = remove_reader = remove_writer = REFUSED

    def _sock_read_done(self, fd: int, fut: object, handle: Any = None) -> None:  # what sock_accept and others call
        if handle is None or not handle.cancelled():
            self._remove_reader(fd)  # type: ignore[attr-defined]

    def _sock_write_done(self, fd: int, fut: object, handle: Any = None) -> None:
        if handle is None or not handle.cancelled():
            self._remove_writer(fd)  # type: ignore[attr-defined]


PORTABLE_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"portable-asyncio": PortableLoop}

if UvloopBase is not None:

    class PortableUvloop(UvloopBase):  # type: ignore[misc]
        """uvloop's, likewise. Its own `sock_accept` calls `remove_reader`, with a socket where we give a number."""

        add_reader = add_writer = REFUSED

        def remove_reader(self, fd: Any) -> Any:
            return super().remove_reader(fd) if isinstance(fd, socket.socket) else REFUSED()

        def remove_writer(self, fd: Any) -> Any:
            return super().remove_writer(fd) if isinstance(fd, socket.socket) else REFUSED()

    PORTABLE_LOOPS["portable-uvloop"] = PortableUvloop
