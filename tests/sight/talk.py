"""A conversation of two endpoints of reliable UDP in virtual time, and what a capture beside the client has of it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

from tests.sight import captures
from transport import limits
from transport.machine import ECN_CE, Closed, Path, Transmit
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.session import RudpSession

MS = 1_000_000
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 5000)
NARROW = 1300  # bytes that the path of `growing` carries in the end
START = 1_700_000_000 * 1_000_000_000
UNSEEN = {"ACK_ECN", "ACK_POLICY", "PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID"}
"""Frames that `rich` does not have."""


class Talk:
    """A client that is connecting, and a server.

    Attributes:
        packets: every datagram as it passes the client's card: when (ns), source, target, bytes. What is lost on its
            way to the server is among them, what is lost on its way to the client is not.
        ecns: of each of those the mark.
        marks: what the network makes of a datagram's mark, by its bytes and whether the client sent it; None wipes all.
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
        self.ecns: list[int] = []
        self.marks: Callable[[bytes, bool, int], int] | None = None
        self.got: dict[Any, list[tuple[int, int, bytes]]] = {self.server: [], self.client: []}
        self.events: dict[Any, list[Any]] = {self.server: [], self.client: []}
        self.drops = drops
        self.address = CLIENT  # of the client; may be changed at any time
        self._delay = round(delay_ms * MS)
        self._air: list[tuple[int, int, bool, bytes, int]] = []
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
                _, _, by_client, data, ecn = heapq.heappop(self._air)
                self._arrive(data, by_client, ecn)
            for endpoint in (self.server, self.client):
                if 0 < endpoint.due() <= self.now:
                    endpoint.expire(self.now)
            self._turn()
        self.now = end

    def _arrive(self, data: bytes, by_client: bool, ecn: int) -> None:
        if by_client:
            self.server.receive(data, Path(None, self.address), ecn, self.now)
        else:
            self._note(SERVER, self.address, data, ecn)
            self.client.receive(data, Path(None, SERVER), ecn, self.now)

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
                    end = min(item.size, start + item.segment_bytes)
                    self._send(bytes(self._room[start:end]), by_client, item.ecn)
            self._drain(endpoint)
            while (flushed := endpoint.take_flushed()) is not None:
                while flushed is not None:
                    flushed = endpoint.after_flushed(flushed)

    def _note(self, source: tuple[str, int], target: tuple[str, int], data: bytes, ecn: int) -> None:
        self.packets.append((self.now, source, target, data))
        self.ecns.append(ecn)

    def _send(self, data: bytes, by_client: bool, ecn: int) -> None:
        if self.marks is None:
            ecn = 0
        if by_client:
            self._note(self.address, SERVER, data, ecn)
        if self.marks is not None:
            ecn = self.marks(data, by_client, ecn)
        if self.drops is None or not self.drops(data, by_client):
            self._count += 1
            heapq.heappush(self._air, (self.now + self._delay, self._count, by_client, data, ecn))

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
        ecns = [*self.ecns, *[0] * (len(self.packets) - len(self.ecns))]  # a test may have added some
        wires = [(at, on_wire(link, *rest, ecn=ecn)) for (at, *rest), ecn in zip(self.packets, ecns, strict=False)]
        return captures.pcap(wires, link, ns=True)


def on_wire(link: int, source: tuple[str, int], target: tuple[str, int], data: bytes, ecn: int = 0) -> bytes:
    """A datagram with its headers."""
    udp = captures.udp_with(data, source[1], target[1])
    return captures.on_link(link, captures.ipv4(udp, 17, source[0], target[0], ecn=ecn))


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


def growing(**options: Any) -> Talk:
    """Messages of 1 MiB, whose packets grow to 65,000 bytes; queues that mark some; then a path that carries 1,300."""
    windows = {"start_window": 1 << 20, "channel_window": 1 << 24, "connection_window": 1 << 24}
    config = {"mtu_max": limits.RUDP_DATAGRAM_BYTES_MAX, "checksums": 2, **windows, **options}
    talk = Talk(client=config, server=config)
    talk.marks = lambda _, __, ecn: ecn
    talk.run(100)
    sent = 0
    while talk.session.mtu < limits.RUDP_DATAGRAM_BYTES_MAX:
        talk.session.send(bytes(limits.MIB), 0, 0, 0, 0, talk.now)
        talk.run(1000)
        sent += 1
        assert sent < 5
    talk.marks = lambda _, by_client, ecn: ECN_CE if ecn and by_client and len(talk.packets) % 5 == 0 else ecn
    for count in (2, 2):
        for _ in range(count):
            talk.session.send(bytes(limits.MIB), 0, 0, 0, 0, talk.now)
        talk.run(15)
        sent += count
        talk.drops = lambda data, _: len(data) > NARROW
    talk.run(20_000)
    assert len(talk.got[talk.server]) == sent
    return talk


def refused() -> Talk:
    """A client that is asked for a cookie, and then not taken: its codec is another."""
    talk = Talk(client={"codec": "json"}, server={"codec": "raw", "cookie": "always"})
    talk.run(100)
    return talk


def forgotten() -> Talk:
    """A server that was started again under the same key: what goes on is answered by RESET."""
    talk = Talk()
    talk.run(100)
    talk.session.send(b"before", 0, 0, 0, 0, talk.now)
    talk.run(100)
    talk.server = RudpEndpoint(RudpConfig(), talk.rng.randbytes, True, bytes(32))
    talk.got[talk.server], talk.events[talk.server] = [], []
    talk.session.send(b"after", 0, 0, 0, 0, talk.now)
    talk.run(1000)
    return talk
