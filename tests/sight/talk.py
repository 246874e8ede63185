"""A conversation of two endpoints of reliable UDP in virtual time, and what a capture beside the client has of it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from tests.sight import captures
from transport.machine import Closed, Path, Transmit
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.session import RudpSession

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 5000)
START = 1_700_000_000 * 1_000_000_000
UNSEEN = {"ACK_ECN", "ACK_POLICY", "PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID"}
"""Frames that `rich` does not have."""


class Talk:
    """A client that is connecting, and a server.

    Attributes:
        packets: every datagram as it passes the client's card: when (ns), source, target, bytes. What is lost on its
            way to the server is among them, what is lost on its way to the client is not.
        got: messages by the endpoint that got them: (channel, delivery, bytes).
    """

    def __init__(
        self, seed: int = 1, *, delay_ms: float = 10, drops: Callable[[bytes, bool], bool] | None = None,
        client: dict[str, Any] | None = None, server: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.rng = random.Random(seed)
        self.now = START
        self.server = RudpEndpoint(RudpConfig(**(server or {})), self.rng.randbytes, True, bytes(32))
        self.client = RudpEndpoint(RudpConfig(**(client or {})), self.rng.randbytes)
        self.packets: list[tuple[int, tuple[str, int], tuple[str, int], bytes]] = []
        self.got: dict[Any, list[tuple[int, int, bytes]]] = {self.server: [], self.client: []}
        self.events: dict[Any, list[Any]] = {self.server: [], self.client: []}
        self.drops = drops
        self.address = CLIENT  # of the client; may be changed at any time
        self._delay = round(delay_ms * MS)
        self._air: list[tuple[int, int, bool, bytes]] = []
        self._count = 0
        self._room = memoryview(bytearray(65_536))
        self.session = self.client.connect(Path(None, SERVER), self.now)

    @property
    def peer(self) -> RudpSession:
        """The server's session."""
        return next(iter(self.server.sessions.values()))

    def run(self, ms: float) -> None:
        """Lets time pass."""
        end = self.now + round(ms * MS)
        self._turn()
        while True:
            dues = [due for due in (self.server.due(), self.client.due()) if due]
            first = min([*dues, *([self._air[0][0]] if self._air else [])], default=end + 1)
            if first > end:
                break
            self.now = max(self.now, first)
            while self._air and self._air[0][0] <= self.now:
                _, _, by_client, data = heapq.heappop(self._air)
                self._arrive(data, by_client)
            for endpoint in (self.server, self.client):
                if 0 < endpoint.due() <= self.now:
                    endpoint.expire(self.now)
            self._turn()
        self.now = end

    def _arrive(self, data: bytes, by_client: bool) -> None:
        if by_client:
            self.server.receive(data, Path(None, self.address), 0, self.now)
        else:
            self.packets.append((self.now, SERVER, self.address, data))
            self.client.receive(data, Path(None, SERVER), 0, self.now)

    def _turn(self) -> None:
        for endpoint in (self.server, self.client):
            self._drain(endpoint)
        item = Transmit(0, 0, Path(None, None))
        for endpoint in (self.client, self.server):
            by_client = endpoint is self.client
            while endpoint.fill(item, self._room, self.now):
                if not by_client and item.path.remote != self.address:
                    continue  # nobody is there any more
                for start in range(0, item.size, item.segment_bytes):
                    self._send(bytes(self._room[start : min(item.size, start + item.segment_bytes)]), by_client)
            self._drain(endpoint)
            while (flushed := endpoint.take_flushed()) is not None:
                while flushed is not None:
                    flushed = endpoint.after_flushed(flushed)

    def _send(self, data: bytes, by_client: bool) -> None:
        if by_client:
            self.packets.append((self.now, self.address, SERVER, data))
        if self.drops is None or not self.drops(data, by_client):
            self._count += 1
            heapq.heappush(self._air, (self.now + self._delay, self._count, by_client, data))

    def _drain(self, endpoint: RudpEndpoint) -> None:
        endpoint.take_fresh()
        session: Any = endpoint.take_ready()
        while session is not None:
            following = endpoint.after_ready(session)
            for batch in session.take():
                self.got[endpoint] += [(batch.channel, batch.delivery, payload) for payload in batch.payloads]
                if batch.delivery < 2:
                    session.consumed(batch.channel, batch.size, len(batch.payloads))
            events = session.events()
            self.events[endpoint] += events
            if any(isinstance(event, Closed) for event in events):
                endpoint.forget(session)
            session = following

    def pcap(self, link: int = captures.ETHERNET) -> bytes:
        """The capture."""
        return captures.pcap([(at, on_wire(link, *rest)) for at, *rest in self.packets], link, ns=True)


def on_wire(link: int, source: tuple[str, int], target: tuple[str, int], data: bytes) -> bytes:
    """A datagram with its headers."""
    udp = captures.udp_with(data, source[1], target[1])
    return captures.on_link(link, captures.ipv4(udp, 17, source[0], target[0]))


def rich(seed: int = 1, **options: Any) -> Talk:
    """Messages of every delivery and size, streams, copies, losses, messages given up, want of credit, a goodbye."""
    windows = {"start_window": 8000, "channel_window": 8000, "connection_window": 65_536}
    talk = Talk(
        seed, client={"codec": "msgpack", "checksums": 6, **options}, server={"checksums": 6, **windows, **options}
    )
    talk.drops = lambda data, _: data[0] & 0x80 == 0 and talk.rng.random() < 0.1
    talk.run(100)
    session = talk.session
    for number in range(20):
        session.send(bytes([0xA0 | 5]) + b"hello", number % 3, number % 4, 0, 0, talk.now)
        talk.run(5)
    session.send(bytes(6000), 1, 0, 0, 0, talk.now)
    session.send(bytes(6000), 1, 0, 0, 0, talk.now)
    session.send_copies(b"\x07", 2, 0, 0, talk.now + 15 * MS, 0, talk.now)
    stream = session.open_stream(3, 4000)
    session.stream_write(stream, bytes(range(250)) * 16)
    session.stream_finish(stream)
    talk.run(300)
    keep, talk.drops = talk.drops, lambda data, by_client: by_client
    session.send_copies(b"\x09", 0, 0, 0, talk.now + 20 * MS, 0, talk.now)
    talk.run(30)
    talk.drops = keep
    session.ping(7, talk.now)
    talk.run(500)
    session.close(7, "enough", talk.now)
    talk.run(20_000)
    return talk


def moving(**options: Any) -> Talk:
    """A client that comes from another port, then from another host under another id, and says something each time."""
    talk = Talk(client=options, server=options)
    talk.run(100)
    for number, address in enumerate([CLIENT, CLIENT, ("10.0.0.1", 40001), ("10.9.9.9", 7), ("10.9.9.9", 7)]):
        if address[0] != talk.address[0]:
            talk.client.rebound(Path(None, SERVER), talk.now)
        talk.address = address
        talk.session.send(b"from %d" % number, 0, 0, 0, 0, talk.now)
        talk.peer.send(b"to %d" % number, 0, 0, 0, 0, talk.now)  # a side that sends gives its peer a spare id
        talk.run(1500)
    assert [body for _, _, body in talk.got[talk.server]] == [b"from %d" % number for number in range(5)]
    return talk
