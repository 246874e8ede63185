"""Records a running program: stands between its client and its server, passes on everything, notes sizes and times.

Of a datagram the note is exact. A TCP stream has no messages that a stranger could see: what one read gives is noted,
or, where the program's framing is one of `transport`'s, what its decoder cuts. The client waits for the server as it
would without us: a side that is not read stops the other. It must never keep a payload, and never hold back a byte for
the sake of a note.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

from bench.cases import CONNECTIONS_MAX, PAYLOAD_MAX
from bench.trace.file import MESSAGES_MAX, BadTrace, Message
from bench.trace.flows import BOTH, CLIENT, SERVER

READ_BYTES = 64 * 1024
WAITING_BYTES_MAX = 256 * 1024  # in a stream's buffer before its other side is no longer read
CONNECT_S = 10.0
DATAGRAMS_A_TURN = 64
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


class Datagrams:
    """The proxy for UDP: a socket of its own towards the server for every client.

    Plain sockets, because asyncio's datagram transports do not send an empty datagram on Python before 3.13.
    """

    def __init__(self, notes: Notes, target: tuple[str, int]) -> None:
        self._notes = notes
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._clients: dict[Any, _Client] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._listening: socket.socket
        self._family = socket.AF_INET
        self._server: Any = None

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listens; gives the address. Raises OSError."""
        found = await self._loop.getaddrinfo(*self._target, type=socket.SOCK_DGRAM)
        self._family, self._server = found[0][0], found[0][4]
        here = await self._loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        self._listening = socket.socket(here[0][0], socket.SOCK_DGRAM)
        self._listening.setblocking(False)
        try:
            self._listening.bind(here[0][4])
        except OSError:
            self._listening.close()
            raise
        self._loop.add_reader(self._listening.fileno(), self._from_clients)
        self._sweeping = self._loop.call_later(IDLE_S, self._sweep)
        address: tuple[str, int] = self._listening.getsockname()[:2]
        return address

    def _from_clients(self) -> None:
        for data, addr in received(self._listening, self._notes):
            client = self._clients.get(addr)
            if client is None:
                if len(self._clients) >= CONNECTIONS_MAX:
                    self._notes.counts[STRANGERS] += 1
                    continue
                try:
                    client = _Client(self._notes, self._family, self._server)
                except OSError:
                    self._notes.counts[UNDELIVERED] += 1
                    continue
                self._clients[addr] = client
                self._loop.add_reader(client.sock.fileno(), self._from_server, client, addr)
            client.active = self._loop.time()
            if client.up is not None:
                client.up.note(len(data))
            self._send(client.sock.send, data)

    def _from_server(self, client: _Client, addr: Any) -> None:
        client.active = self._loop.time()
        for data, _ in received(client.sock, self._notes):
            if client.down is not None:
                client.down.note(len(data))
            self._send(self._listening.sendto, data, addr)

    def _send(self, send: Callable[..., Any], *arguments: Any) -> None:
        try:
            send(*arguments)
        except OSError:  # a full buffer, or nobody there: a network would lose it likewise
            self._notes.counts[UNDELIVERED] += 1

    def _forget(self, addr: Any) -> None:
        client = self._clients.pop(addr)
        self._loop.remove_reader(client.sock.fileno())
        client.sock.close()

    def _sweep(self) -> None:
        for addr, client in list(self._clients.items()):
            if self._loop.time() - client.active > IDLE_S:
                self._forget(addr)
        self._sweeping = self._loop.call_later(IDLE_S, self._sweep)

    async def close(self) -> None:
        """Forgets every client."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for addr in list(self._clients):
            self._forget(addr)
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()


class _Client:
    """The server's side of one client. Raises OSError: no socket to be had."""

    def __init__(self, notes: Notes, family: int, server: Any) -> None:
        self.active = 0.0
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        try:
            self.sock.connect(server)
        except OSError:
            self.sock.close()
            raise
        self.up, self.down = notes.lane(CLIENT), notes.lane(SERVER)


def received(sock: socket.socket, notes: Notes) -> Iterator[tuple[bytes, Any]]:
    """What is there now, with its sender; at most so many that the loop turns in time."""
    for _ in range(DATAGRAMS_A_TURN):
        try:
            yield sock.recvfrom(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # an earlier datagram has reached nobody
            notes.counts[UNDELIVERED] += 1
            return


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
