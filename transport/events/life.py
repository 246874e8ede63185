"""The life of a client: connections one after the other, until there is a reason not to.

It must never come back after a refusal that another try can't mend, and never all at once with others.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import transport
from transport import CloseCode, Delivery, limits
from transport.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    MessageTooLarge,
    WouldBlock,
)
from transport.events import cursors, envelope
from transport.events.client import Client
from transport.events.errors import Busy, Denied, Malformed, Refused, Superseded

log = logging.getLogger("transport.events")


class Wire(transport.Protocol):
    """One connection of a client."""

    def __init__(self, client: Life) -> None:
        self.client = client
        self.conn: Any = None
        self.paused = False
        self.lost = client.loop.create_future()

    def connection_made(self, conn: Any) -> None:
        self.conn = conn

    def message_received(self, message: Any, channel: int) -> None:
        self.client.received(self, message)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(error)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.client.write()


class Life:
    """The half of `EventsClient` that knows connections; the other half knows the program."""

    machine: Client
    loop: asyncio.AbstractEventLoop
    reconnects: int
    closed: bool
    _store: Any

    def __init__(self, url: Any, reconnect: Any, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._backoff: transport.Backoff | None = reconnect
        self._wire: Wire | None = None
        self._frames: deque[bytes] = deque()  # bounded by the window and the wishes
        self._opened: asyncio.Future[None] | None = None
        self._refusal: envelope.Refused | None = None
        self._going_s = -1.0
        self._keeper: asyncio.Task[None] | None = None
        self._first = True

    @property
    def _shown_url(self) -> str:
        """For people: without what is secret."""
        return transport.url.parse(self._url).redacted()

    @property
    def wire(self) -> Wire | None:
        """Its connection, if there is one."""
        return self._wire

    @property
    def url(self) -> Any:
        """That it connects to; another one is used from the next connection on."""
        return self._url

    @url.setter
    def url(self, url: Any) -> None:
        self._url = url

    def lose_wire(self) -> None:
        """For tests: goes on as if the connection were lost, and leaves it to itself."""
        wire = self._wire
        if wire is not None:
            wire.conn = None
            wire.connection_lost(ConnectionLost(CloseCode.LOST, "lost without a word"))

    def _happened(self) -> None:
        raise NotImplementedError

    def _finish(self, error: BaseException | None) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Makes the first connection. Raises ConnectFailed, Refused, LocalProtocolError."""
        if self._store is not None:
            state = self._store.load()
            if state is not None:
                cursors.restore(self.machine, state)
        tries = 0
        while True:
            try:
                await self._connect()
                break
            except (Denied, Superseded, Busy) as error:
                tries += error.reason not in {"busy", "going_away"}  # these say themselves when it will do
                if tries > 3 or not self._may_try_again(error):
                    raise
                if isinstance(error, Busy):
                    await self._sleep(error.retry_s)
        self._keeper = self.loop.create_task(self._keep())

    def _may_try_again(self, error: Refused) -> bool:
        """Whether a refusal says something that a client can heed."""
        if isinstance(error, Busy):
            return self._backoff is not None
        if isinstance(error, Superseded):  # a cursor file that is older than the session: its owner may catch up
            if not self._first or error.generation < self.machine.generation:
                return False
            self.machine.generation = error.generation
            return True
        if isinstance(error, Denied) and self.machine.session:
            log.warning(
                "%s does not take the session of this client (%s): it is another server's or another user's, or its key"
                " was lost. A new one begins, and every room with a gap",
                self._shown_url, error,
            )  # fmt: skip
            self.machine.start_over()
            self._happened()
            return True
        return False

    async def _sleep(self, seconds: float) -> None:
        sleep = asyncio.sleep if self._backoff is None else self._backoff.sleep
        await sleep(seconds)

    async def _connect(self) -> None:
        """One try: returns when the server has let the client in."""
        wire = Wire(self)
        self._refusal = None
        self._opened = self.loop.create_future()
        timeout = self._options.get("connect_timeout", limits.CONNECT_TIMEOUT_S)
        try:
            async with asyncio.timeout(timeout):
                await transport.connect(self._url, protocol=lambda: wire, codec="raw", **self._options)
                wire.conn.traits.check(Delivery.RELIABLE_ORDERED, wire.conn.url.scheme)
                self._wire = wire
                self.machine.largest = wire.conn.get_extra_info("max_message")
                self.machine.connected()
                self.write()
                await asyncio.wait((self._opened, wire.lost), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            self._drop(wire)
            if isinstance(error, ConnectTimeout):
                raise
            raise ConnectTimeout(f"no WELCOME within {timeout} s") from None
        except BaseException:
            self._drop(wire)
            raise
        if self.machine.up:
            self._going_s = -1.0
            return
        self._drop(wire)
        raise self._why(wire)

    def _drop(self, wire: Wire) -> None:
        if self._wire is wire:
            self._wire = None
        if wire.conn is not None:
            wire.conn.abort()
        self._frames.clear()
        self.machine.disconnected()

    def _why(self, wire: Wire) -> Exception:
        """What the server said, or how the connection ended."""
        refused = self._refusal
        if refused is None:
            error = wire.lost.result() if wire.lost.done() else None
            return error if isinstance(error, ConnectionClosed) else ConnectFailed("the server has said nothing")
        if refused.retry_ms >= 0:
            return Busy(refused.reason, refused.text, refused.retry_ms / 1000)
        if refused.reason == "denied":
            return Denied(refused.text)
        if refused.reason == "superseded":
            return Superseded(f"{refused.text}: one program at a time can use a cursor", refused.generation)
        return Refused(refused.reason, refused.text)

    async def _keep(self) -> None:
        """Waits for the end of each connection and makes the next, until there is a reason not to."""
        try:
            attempt = 0
            while True:
                wire = self._wire
                assert wire is not None
                self._first = False
                began = self.loop.time()
                await wire.lost
                error = self._why(wire)
                self._drop(wire)
                if self.loop.time() - began >= limits.RECONNECT_RESET_S:
                    attempt = 0
                while True:
                    attempt += 1
                    delay = self._delay(error, attempt)
                    await self._sleep(delay)
                    try:
                        await self._connect()
                        break
                    except (ConnectFailed, ConnectionClosed, Refused) as failed:
                        error = failed
                self.reconnects += 1
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._finish(error)

    def _delay(self, error: Exception, attempt: int) -> float:
        """Seconds until the next try. Raises what ends the client."""
        backoff = self._backoff
        if self.closed or backoff is None or (backoff.attempts is not None and attempt > backoff.attempts):
            raise error
        if isinstance(error, Busy):
            return error.retry_s
        if isinstance(error, Refused):
            if not self._may_try_again(error):
                raise error
            return 0.0
        if isinstance(error, ConnectionClosed) and error.code not in backoff.codes:
            raise error
        if self._going_s >= 0:
            return self._going_s
        return backoff.delay(attempt)

    # Frames

    def received(self, wire: Wire, data: bytes) -> None:
        """From a connection."""
        if wire is not self._wire:
            return
        try:
            self.machine.receive(data)
        except Malformed as error:
            log.warning("a server breaks the rules: %s", error)
            wire.conn.close_soon(error.code, error.reason[: limits.REASON_BYTES_MAX // 4])
            return
        self._happened()
        self.write()

    def write(self) -> None:
        """Gives the connection what the machine has said, while it takes it."""
        self._frames.extend(self.machine.transmit())
        wire = self._wire
        if wire is None or wire.conn is None:
            self._frames.clear()  # the machine says it again on the next connection
            return
        while self._frames and not wire.paused:
            try:
                wire.conn.send_nowait(self._frames[0])
            except WouldBlock:
                break
            except MessageTooLarge as error:  # the server takes less than this side: nothing could follow it
                self._finish(error)
                wire.conn.abort()
                return
            except ConnectionClosed:
                self._frames.clear()
                return
            self._frames.popleft()
