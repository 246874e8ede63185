"""A server's endpoint in virtual time, with one honest client, and peers whose every packet is made by hand."""

from __future__ import annotations

import random
import zlib
from typing import Any

from transport.machine import Closed, Path, Transmit
from transport.rudp import packet, pen
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.session import RudpSession

MS = 1_000_000
KEY = bytes(range(32))
HONEST = ("198.51.100.1", 1)
SERVER = ("192.0.2.1", 9)
CRC32 = 2
CRC32_ONLY = {"checksums": packet.CHECKSUM_CRC32}


def varint(value: int) -> bytes:
    """A number as frames have it."""
    room = memoryview(bytearray(8))
    return bytes(room[: pen.put_varint(room, 0, value)])


def varints(*values: int) -> bytes:
    """Several."""
    return b"".join([varint(value) for value in values])


def message(
    body: bytes, number: int = 0, channel: int = 0, delivery: int = 0, *, part: tuple[int, int] | None = None,
    length: bool = True, successor: bool = False, number_bytes: int = 4,
) -> bytes:  # fmt: skip
    """A MSG frame; `part` is (offset, total) of a fragment."""
    flags = packet.MSG | delivery << 5
    head = b""
    if successor:
        flags |= packet.SUCCESSOR
    else:
        flags |= number_bytes - 1
        head = varint(channel) + number.to_bytes(8, "big")[-number_bytes:]
    if part is not None:
        flags |= packet.FRAGMENT
        head += varints(*part)
    if length:
        flags |= packet.LENGTH
        head += varint(len(body))
    return bytes([flags]) + head + body


def ack(*ranges: tuple[int, int], delay: int = 0) -> bytes:
    """An ACK frame of ranges (lowest, highest), the highest first."""
    low, high = ranges[0]
    found = bytes([packet.ACK]) + varints(high, delay, len(ranges) - 1, high - low)
    for following_low, following_high in ranges[1:]:
        found += varints(low - following_high - 2, following_high - following_low)
        low = following_low
    return found


def close_frame(code: int, reason: bytes = b"") -> bytes:
    """A CLOSE frame."""
    return bytes([packet.CLOSE]) + varints(code, len(reason)) + reason


class Rig:
    """The server, its honest client, and what the server sends to whom."""

    def __init__(self, seed: int = 1, client: dict[str, Any] | None = None, **options: Any) -> None:
        self.rng = random.Random(seed)
        self.config = RudpConfig(**{"codec": "raw", **CRC32_ONLY, **options})
        self.now = 1_000_000_000
        self.server = RudpEndpoint(self.config, self.rng.randbytes, True, KEY)
        self.client = RudpEndpoint(RudpConfig(**{"codec": "raw", **CRC32_ONLY, **(client or {})}), self.rng.randbytes)
        self.honest = self.client.connect(Path(None, SERVER), self.now)
        self.sent: dict[Any, list[bytes]] = {}
        self.got: dict[int, list[bytes]] = {}  # messages by the server's connection id
        self.events: dict[int, list[Any]] = {}
        self.echoed: list[bytes] = []
        self.unread: set[int] = set()  # ids whose messages the application leaves
        self.unread_channels: set[int] = set()  # likewise, of whatever connection
        self.room = memoryview(bytearray(65_536))
        self.drops: Any = None  # whether a packet of the honest client, or for it, gets lost
        self.settle()

    def settle(self) -> None:
        """Moves datagrams until nobody has more to say."""
        for _ in range(1000):
            if not (self._pump(self.server) + self._pump(self.client)):
                return
        raise AssertionError("there is no end of it")

    def _pump(self, endpoint: RudpEndpoint) -> int:
        self._drain(endpoint)
        count = 0
        item = Transmit(0, 0, Path(None, None))
        while endpoint.fill(item, self.room, self.now):
            count += 1
            data = bytes(self.room[: item.size])
            for start in range(0, item.size, item.segment_bytes):
                piece = data[start : start + item.segment_bytes]
                if self.drops is not None and (endpoint is self.client or item.path.remote == HONEST):
                    if self.drops(piece, endpoint is self.client):
                        continue
                if endpoint is self.client and item.path.remote != SERVER:
                    continue  # nobody is there
                if endpoint is self.client:
                    self.server.receive(piece, Path(None, HONEST), 0, self.now)
                elif item.path.remote == HONEST:
                    self.client.receive(piece, Path(None, SERVER), 0, self.now)
                else:
                    self.sent.setdefault(item.path.remote, []).append(piece)
        self._drain(endpoint)
        while (flushed := endpoint.take_flushed()) is not None:
            while flushed is not None:
                flushed = endpoint.after_flushed(flushed)
        return count

    def _drain(self, endpoint: RudpEndpoint) -> None:
        endpoint.take_fresh()
        session: Any = endpoint.take_ready()
        while session is not None:
            following = endpoint.after_ready(session)
            for batch in session.take():
                if endpoint is self.client:
                    self.echoed += batch.payloads
                self.got.setdefault(session.own_cid, []).extend(batch.payloads)
                is_left = session.own_cid in self.unread or batch.channel in self.unread_channels
                if batch.delivery < 2 and not is_left:
                    session.consumed(batch.channel, batch.size, len(batch.payloads))
            events = session.events()
            self.events.setdefault(session.own_cid, []).extend(events)
            if any(isinstance(event, Closed) for event in events):
                endpoint.forget(session)
            session = following

    def wait(self, ms: float) -> None:
        """Lets time pass."""
        self.settle()
        end = self.now + int(ms * MS)
        while True:
            dues = [due for due in (self.server.due(), self.client.due()) if due]
            due = max(min(dues, default=end), self.now + 1)
            if due > end:
                break
            self.now = due
            for endpoint in (self.server, self.client):
                if 0 < endpoint.due() <= self.now:
                    endpoint.expire(self.now)
            self.settle()
        self.now = end

    def check_honest(self) -> None:
        """The honest client is served as ever."""
        count = len(self.got.get(self.of_honest().own_cid, []))
        self.honest.send(b"fine?", 3, 0, 0, 0, self.now)
        self.settle()
        self.wait(10)
        assert self.got[self.of_honest().own_cid][count:] == [b"fine?"]
        assert self.honest.state == 1
        self.echoed.clear()
        self.of_honest().send(b"yes", 2, 1, 0, 0, self.now)
        self.settle()
        self.wait(10)
        assert self.echoed == [b"yes"]

    def of_honest(self) -> RudpSession:
        """The server's session of it."""
        session: RudpSession = self.server.sessions[self.honest.peer_cid]
        return session

    def receive(self, data: bytes, address: Any) -> list[bytes]:
        """Gives the server one datagram; returns what it sends to that address at once."""
        before = len(self.sent.get(address, []))
        self.server.receive(data, Path(None, address), 0, self.now)
        self.settle()
        return self.sent.get(address, [])[before:]


class Hand:
    """A client whose packets are made by hand."""

    def __init__(
        self, rig: Rig, host: str = "203.0.113.7", port: int = 5, *, opens: bool = True, **announced: Any
    ) -> None:
        self.rig = rig
        self.address = (host, port)
        self.cid = rig.rng.getrandbits(64) | 1
        self.peer_cid = 0
        self.number = 0
        self.announced = packet.Parameters(**{"codec": "raw", **announced})
        if opens:
            self.open()

    def hello(self, cookie: bytes = b"") -> list[bytes]:
        """Says HELLO; returns the answers."""
        return self.rig.receive(packet.encode_hello(self.cid, cookie, self.announced), self.address)

    def open(self) -> None:
        """The whole handshake."""
        answer = packet.decode_long(self.hello()[-1])
        assert answer is not None
        if answer.kind == packet.RETRY:
            answer = packet.decode_long(self.hello(answer.cookie)[-1])
            assert answer is not None
        assert answer.kind == packet.ACCEPT
        self.peer_cid = answer.scid
        self.say(bytes([packet.PING]))

    def packet(self, frames: bytes, number: int | None = None, cid: int | None = None) -> bytes:
        """A SHORT packet with the next number, or `number`."""
        if number is None:
            number = self.number
            self.number += 1
        target = self.peer_cid if cid is None else cid
        data = bytes([packet.FIXED_BIT | 3]) + target.to_bytes(8, "big") + number.to_bytes(8, "big")[-4:] + frames
        return data + zlib.crc32(data, target & 0xFFFFFFFF).to_bytes(4, "big")

    def say(self, *frames: bytes, number: int | None = None) -> list[bytes]:
        """Sends frames in one packet; returns what comes back at once."""
        return self.rig.receive(self.packet(b"".join(frames), number), self.address)

    @property
    def session(self) -> RudpSession:
        """The server's session of this client."""
        session: RudpSession = self.rig.server.sessions[self.peer_cid]
        return session

    @property
    def got(self) -> list[bytes]:
        """Messages that the server's application got."""
        return self.rig.got.get(self.peer_cid, [])

    def closed(self) -> Closed | None:
        """How the server ended the session."""
        ends = [event for event in self.rig.events.get(self.peer_cid, []) if isinstance(event, Closed)]
        return ends[0] if ends else None

    def told(self) -> tuple[int, str] | None:
        """Code and reason of the last CLOSE that the server sent here."""
        for data in reversed(self.rig.sent.get(self.address, [])):
            frames = data[10 + (data[0] & 3) : -4]
            if data[0] & 0xC0 == packet.FIXED_BIT and frames[:1] == bytes([packet.CLOSE]):
                code = pen.varint(frames, 1)
                at = 1 + pen.varint_length(frames, 1)
                return code, frames[at + pen.varint_length(frames, at) :].decode()
        return None


def ends(hand: Hand, code: int, *frames: bytes, reason: str = "") -> None:
    """Frames that end the session with `code`, told to the peer."""
    hand.say(*frames)
    closed = hand.closed()
    assert closed is not None, "the session goes on"
    assert closed.code == code, closed
    assert reason in closed.reason
    assert not closed.clean
    assert hand.told() == (code, closed.reason)


def goes_on(hand: Hand) -> None:
    """The session is open and takes messages on a channel of its own."""
    before = len(hand.got)
    hand.say(message(b"alive", 0, 200, 1))
    assert hand.got[before:] == [b"alive"]
    assert hand.closed() is None
