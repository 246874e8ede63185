"""The row of connections behind one that comes back, and its readers: each goes through the row at its own pace.

It must never skip an unread message but by the bound that says how many ended connections are kept for a reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

from transport import limits
from transport.delivery import Delivery
from transport.drive.connection import Connection
from transport.drive.records import Received
from transport.errors import ConnectionClosed, ConnectionLost, LocalProtocolError, WouldBlock


class RowOwner(Protocol):
    """What readers and channels ask of the connection that they belong to."""

    def final_error(self) -> ConnectionClosed:
        """How it all ended."""

    async def send(self, message: Any, **options: Any) -> None:
        """Sends on the connection that is there."""

    def send_nowait(self, message: Any, **options: Any) -> None:
        """Sends on the connection that is there, or raises."""


class Link:
    """One connection in the row of connections; `followed` gives the next, or None when there will be none."""

    __slots__ = ("conn", "followed", "number")

    def __init__(self, conn: Connection, number: int) -> None:
        self.conn = conn
        self.number = number
        self.followed: asyncio.Future[Link | None] = conn.loop.create_future()


class Reader:
    """Takes messages of one channel (None: of all that have no object of their own) through the row."""

    def __init__(self, owner: RowOwner, link: Link, channel: int | None) -> None:
        self.link = link
        self._owner = owner
        self._channel = channel
        self._busy = False

    def _inbox(self) -> Any:
        return self.link.conn if self._channel is None else self.link.conn.channel(self._channel)

    async def receive(self) -> Received:
        """The next message, over as many connections as it takes."""
        if self._busy:
            raise LocalProtocolError("another task is waiting for a message here already")
        self._busy = True
        try:
            while True:
                try:
                    return await self._inbox().receive()  # type: ignore[no-any-return]
                except ConnectionClosed:
                    following = await asyncio.shield(self.link.followed)
                if following is None:
                    raise self._owner.final_error()
                self.link = following
        finally:
            self._busy = False

    def receive_nowait(self) -> Any:
        """The next message that is already here."""
        if self._busy:
            raise LocalProtocolError("another task is waiting for a message here already")
        while True:
            try:
                return self._inbox().recv_nowait()
            except ConnectionClosed:
                if not self.link.followed.done():
                    raise WouldBlock("no message is waiting, and the connection is coming back") from None
            following = self.link.followed.result()
            if following is None:
                raise self._owner.final_error()
            self.link = following

    def catch_up(self, newest: Link) -> int:
        """Gives up connections that nobody has read for too long; returns how many."""
        dropped = 0
        while newest.number - self.link.number >= limits.RECONNECT_UNREAD_MAX and not self._busy:
            following = self.link.followed.result()
            if following is None:
                break
            self.link = following
            dropped += 1
        return dropped


class ReconnectingChannel:
    """`Channel` of a connection that comes back. Made by `Reconnecting.channel`."""

    def __init__(
        self,
        owner: RowOwner,
        reader: Reader,
        number: int,
        delivery: Delivery | None,
        priority: int | None,
    ) -> None:
        self.number = number
        self.delivery = delivery
        self.priority = priority
        self._owner = owner
        self._reader = reader

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"delivery": self.delivery, "priority": self.priority, **options, "channel": self.number}

    async def send(self, message: Any, **options: Any) -> None:
        """`Reconnecting.send` on this channel."""
        await self._owner.send(message, **self._options(options))

    def send_nowait(self, message: Any, **options: Any) -> None:
        """`Reconnecting.send_nowait` on this channel."""
        self._owner.send_nowait(message, **self._options(options))

    async def recv(self) -> Any:
        """The next message of this channel, of this connection or of those to come."""
        return (await self._reader.receive()).message

    async def receive(self) -> Received:
        """Like `recv`, with the delivery it came by."""
        return await self._reader.receive()

    def recv_nowait(self) -> Any:
        """The next message that is already here; raises WouldBlock when there is none."""
        return self._reader.receive_nowait()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await next_message(self._reader)


async def next_message(reader: Reader) -> Any:
    """One step of `async for`: ends quietly after a clean close."""
    try:
        return (await reader.receive()).message
    except ConnectionLost:
        raise
    except ConnectionClosed:
        raise StopAsyncIteration from None
