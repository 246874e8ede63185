"""Records a running program: stands between its client and its server, passes on everything, notes sizes and times.

Of a datagram the note is exact. A TCP stream has no messages that a stranger could see: what one read gives is noted,
or, where the program's framing is one of `transport`'s, what its decoder cuts. The client waits for the server as it
would without us: a side that is not read stops the other. It must never keep a payload, and never hold back a byte for
the sake of a note.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

from bench.cases import CONNECTIONS_MAX, PAYLOAD_MAX
from bench.trace.file import MESSAGES_MAX, BadTrace, Message
from bench.trace.flows import BOTH, CLIENT, SERVER

READ_BYTES = 64 * 1024
WAITING_BYTES_MAX = 256 * 1024  # in a stream's buffer before its other side is no longer read
CONNECT_S = 10.0
IDLE_S = 120.0  # a datagram client that says nothing for so long is forgotten
LOST, MALFORMED = "connections that the server did not take", "streams that do not fit the framing; noted up to there"
STRANGERS, UNDELIVERED = "datagrams of more clients than can be noted", "datagrams that could not be passed on"


@dataclass(slots=True)
class Notes:
    """What has been seen so far.

    Args:
        sender: `CLIENT`, `SERVER` or `BOTH`, whose messages are noted.
        framing: a name of `transport`'s framings, or None to note reads.

    Attributes:
        full: it ended because there was room for no more.
        stop: set when it is to end.
    """

    sender: str = BOTH
    framing: str | None = None
    messages: list[Message] = field(default_factory=list)
    connections: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    full: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def fill(self) -> None:
        """There is room for no more: the recording ends."""
        self.full = True
        self.stop.set()

    def lane(self, sender: str) -> Lane | None:
        """A new connection of the trace; None where this sender is not of interest, or there are too many."""
        if self.sender not in (BOTH, sender):
            return None
        if self.connections >= CONNECTIONS_MAX:
            self.fill()
            return None
        self.connections += 1
        return Lane(self, self.connections - 1)


class Lane:
    """One direction of one connection."""

    def __init__(self, notes: Notes, number: int) -> None:
        self._notes = notes
        self._number = number
        self._decoder: Any = None
        self._broken = False
        if notes.framing is not None:
            from transport.codec.framing.base import new_decoder, resolve_framing

            self._decoder = new_decoder(resolve_framing(notes.framing, PAYLOAD_MAX))

    def note(self, size: int) -> None:
        """One message of so many bytes, now."""
        notes = self._notes
        if len(notes.messages) < MESSAGES_MAX:
            notes.messages.append((perf_counter_ns(), size, self._number))
        else:
            notes.fill()

    def feed(self, data: bytes) -> None:
        """What a stream brought."""
        if self._decoder is None:
            self.note(len(data))
            return
        if self._broken:
            return
        from transport.errors import RemoteProtocolError

        try:
            payloads = self._decoder.feed(data)
        except RemoteProtocolError as error:
            payloads = getattr(error, "payloads", [])
            self._broken = True
            self._notes.counts[MALFORMED] += 1
        for payload in payloads:
            self.note(len(payload))


class Streams:
    """The proxy for TCP."""

    def __init__(self, notes: Notes, target: tuple[str, int]) -> None:
        self._notes = notes
        self._target = target
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listens; gives the address. Raises OSError."""
        self._server = await asyncio.start_server(self._accepted, host, port, limit=READ_BYTES)
        address: tuple[str, int] = self._server.sockets[0].getsockname()[:2]
        return address

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            opening = asyncio.open_connection(*self._target, limit=READ_BYTES)
            there, back = await asyncio.wait_for(opening, CONNECT_S)
        except (OSError, TimeoutError):
            self._notes.counts[LOST] += 1
            writer.transport.abort()
            return
        for one in (writer, back):
            one.transport.set_write_buffer_limits(high=WAITING_BYTES_MAX)
        up = asyncio.ensure_future(pump(reader, back, self._notes.lane(CLIENT)))
        down = asyncio.ensure_future(pump(there, writer, self._notes.lane(SERVER)))
        try:
            await asyncio.gather(up, down)  # each ends at its own end of stream: half-closed streams stay so
            for one in (writer, back):
                one.close()
        except (OSError, asyncio.CancelledError):
            for pumping in (up, down):
                pumping.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        finally:
            for one in (writer, back):
                if not one.is_closing():
                    one.transport.abort()

    async def close(self) -> None:
        """Ends every connection."""
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: Lane | None) -> None:
    """Passes one direction on until its end. Raises OSError."""
    while data := await reader.read(READ_BYTES):
        writer.write(data)
        if lane is not None:
            lane.feed(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class Datagrams(asyncio.DatagramProtocol):
    """The proxy for UDP: a socket of its own towards the server for every client."""

    def __init__(self, notes: Notes, target: tuple[str, int]) -> None:
        self._notes = notes
        self._target = target
        self._clients: dict[Any, _Client] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._listening: Any = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listens; gives the address. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listening, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(host, port))
        self._sweeping = loop.call_later(IDLE_S, self._sweep)
        address: tuple[str, int] = self._listening.get_extra_info("sockname")[:2]
        return address

    def datagram_received(self, data: bytes, addr: Any) -> None:
        client = self._clients.get(addr)
        if client is None:
            if len(self._clients) >= CONNECTIONS_MAX:
                self._notes.counts[STRANGERS] += 1
                return
            client = self._clients[addr] = _Client(self._notes, self._target, self._listening, addr)
        client.from_client(data)

    def error_received(self, _error: Exception) -> None:
        self._notes.counts[UNDELIVERED] += 1

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        for addr, client in list(self._clients.items()):
            if loop.time() - client.active > IDLE_S:
                client.close()
                del self._clients[addr]
        self._sweeping = loop.call_later(IDLE_S, self._sweep)

    async def close(self) -> None:
        """Forgets every client."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for client in self._clients.values():
            client.close()
        self._listening.close()


class _Client(asyncio.DatagramProtocol):
    """The server's side of one client."""

    WAITING_MAX = 1024  # datagrams before the socket is there

    def __init__(self, notes: Notes, target: tuple[str, int], listening: Any, addr: Any) -> None:
        self._notes = notes
        self._listening = listening
        self._addr = addr
        self._up, self._down = notes.lane(CLIENT), notes.lane(SERVER)
        self._waiting: list[bytes] = []
        self._socket: Any = None
        self._loop = asyncio.get_running_loop()
        self.active = self._loop.time()
        self._opening = self._loop.create_task(self._open(target))

    async def _open(self, target: tuple[str, int]) -> None:
        try:
            self._socket, _ = await self._loop.create_datagram_endpoint(lambda: self, remote_addr=target)
        except OSError:
            self._notes.counts[UNDELIVERED] += len(self._waiting)
        else:
            for data in self._waiting:
                self._socket.sendto(data)
        self._waiting = []

    def from_client(self, data: bytes) -> None:
        """On to the server."""
        self.active = self._loop.time()
        if self._up is not None:
            self._up.note(len(data))
        if self._socket is not None:
            self._socket.sendto(data)
        elif not self._opening.done() and len(self._waiting) < self.WAITING_MAX:
            self._waiting.append(data)
        else:
            self._notes.counts[UNDELIVERED] += 1

    def datagram_received(self, data: bytes, _addr: Any) -> None:
        self.active = self._loop.time()
        if self._down is not None:
            self._down.note(len(data))
        self._listening.sendto(data, self._addr)

    def error_received(self, _error: Exception) -> None:
        self._notes.counts[UNDELIVERED] += 1

    def close(self) -> None:
        """Gives the socket back."""
        self._opening.cancel()
        if self._socket is not None:
            self._socket.close()


def endpoint(text: str) -> tuple[str, str, int]:
    """(scheme, host, port) of "tcp://host:port" or "udp://host:port". Raises BadTrace."""
    from transport.errors import InvalidURL
    from transport.url import parse

    try:
        url = parse(text)
        if url.scheme not in ("tcp", "udp") or url.query_text:
            raise BadTrace(f"{text}: what is recorded is tcp://host:port or udp://host:port, without options")
        return url.scheme, *url.endpoint()
    except InvalidURL as error:
        raise BadTrace(str(error)) from None
