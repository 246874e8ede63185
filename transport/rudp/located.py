"""Where a peer is and by which ids it is spoken to: the part of a session that goes along when addresses change.

What is rare about it is in `paths` and `ids`, which are made for a session when they are needed. It must never move a
connection by anything but its newest packet.
"""

from __future__ import annotations

import hashlib
from typing import Any

from transport import limits
from transport.errors import RemoteProtocolError
from transport.machine import Path
from transport.rudp import congestion, ids, paths, pen
from transport.rudp.config import RudpConfig
from transport.rudp.congestion.base import Controller
from transport.rudp.incoming import Incoming
from transport.rudp.kinds import CREDIT, FIXED_BIT, NEW_CID, PATH_CHALLENGE, RETIRE_CID
from transport.rudp.loss import LossThresholds
from transport.rudp.pacer import Pacer
from transport.rudp.sent import Item, SentPacket
from transport.rudp.states import CLOSED, OPEN, SENT
from transport.rudp.turns import Exchange

CHECKSUM_BYTES = 4
CID_BYTES = 8
CHALLENGE_BYTES = 8
TOKEN_BYTES = 16
LAST_PACKETS = limits.RUDP_MOVED_PACKETS
ECN_TIMEOUTS = 3  # probe time-outs that a test of marks lasts at most (RFC 9000 section 13.4.2)


class Located(Incoming):
    """A session that knows where its peer is.

    Attributes:
        is_client: it opened the connection.
        token: the 16 bytes by which the peer's RESET is known; empty without.
        paths: `paths.Paths`, once there is more than one.
        path_at: when those have to be asked again (ns), 0 for never.
        detour: the path of the packet that `fill` has just built, where that is not the one in use.
        path_changes: how often the peer's address, or its port alone, has changed.
        ids: `ids.Ids`, once there is more than one of a side.
        ids_at: when a client may be given a spare id (ns), 0 for never.
        home: by which of our ids the peer spoke to us when it came to the path in use.
    """

    def __init__(self, exchange: Exchange, config: RudpConfig, path: Path, own_cid: int, controller: Controller,
                 is_client: bool) -> None:  # fmt: skip
        Incoming.__init__(self, exchange, config, path, own_cid, controller)
        self.is_client = is_client
        self.token = b""
        self.paths: Any = None
        self.path_at = 0
        self.detour: Path | None = None
        self.path_changes = 0
        self.ids: Any = None
        self.ids_at = 0
        self.home = own_cid
        self._challenge = b""  # of the packet that is being read
        self._response = b""

    # Paths

    def came_by(self, path: Path, number: int, size: int, now: int) -> None:
        """See `Incoming`. A peer whose port alone has changed is known already; a server does not move."""
        if not self._has_words:
            if path == self.path:
                self.path = path  # the same in another object
                return
            if self.is_client or number < self.acks.ranges.largest:
                return
            if paths.is_same_host(path.remote, self.path.remote):
                self.follow(path, now)
                return
        if self.life < CLOSED:
            paths.came_by(self, path, number, size, now)
        elif self.goodbye_bytes() <= limits.RUDP_AMPLIFICATION * size:
            self.detour = path  # for our goodbye, which is said again

    def goodbye_bytes(self) -> int:
        """How large a datagram with our goodbye is at most."""
        raise NotImplementedError

    def follow(self, path: Path, now: int) -> None:
        """The peer is somewhere else, where it is known: what went to where it was does not arrive any more."""
        if self.life < CLOSED:
            self.leave_port(now)
        self.take_path(path, now)

    def leave_port(self, now: int) -> None:
        """The peer is at another port of its host. What is in flight may be lost; if it is, that says nothing about the
        path. Acks and credit may be lost, too, and the peer can't go on without: it gets them at once.
        """
        ring = self.ring
        self.acks.ask()
        if ring.next > self._moved:
            self._moved_before = self._moved
            self._moved = ring.next
        self._gone_to = 0
        self._proved = 0
        self._ack_bytes = 0
        self._ack_packets = 0
        self._detect(self.in_flight - self.copied, now)
        if not self.in_flight:
            self._pto_count = 0
        for number in range(max(self._first_sent(), ring.next - LAST_PACKETS), ring.next):
            packet = ring.get(number)
            if packet.state == SENT:
                for item in (packet.item, *(packet.more or ())):
                    if item is not None and item.kind == CREDIT:
                        self._credit_lost(item.start, item.end)

    def take_path(self, path: Path, now: int) -> None:
        """Goes on over another path to a host that is known: all that was found out still holds."""
        self.path = path
        self.path_changes += 1
        if self.trace is not None:
            self.trace.moved(path, now)
        if self.probed_path is not None:
            self.exchange.probes(self)  # by the new path, from now on
        if self.life < CLOSED:
            self.ask_again(now)
        if self.paths is not None and self.paths.confirming is not None:
            self.paths.confirming.path = path
        if self.addressed != self.home:  # the peer moves on purpose, and so it is no more known by its old id, either
            self.home = self.addressed
            ids.switch(self)

    def change_path(self, path: Path, now: int) -> None:
        """Goes on over a path to another host, of which nothing is known (RFC 9000 sections 9.4, 13.4.2 and 14.3)."""
        self.take_path(path, now)
        self.forget_mtu()  # first: what becomes of a probe that was sent over the old path is nothing to the new search
        self.leave_path(now)
        self.controller = congestion.make(self.config.congestion, self.mtu, self.config.rate, self._seed())
        self.pacer = Pacer()
        self.rtt.reset(limits.RUDP_INITIAL_RTT_NS)
        self.thresholds = LossThresholds()
        self.redundancy.start_low()
        if self.policy.reset(self.packets_acked, now):
            self.policy_due = True
        self._pace_at = 0
        self.test_marks(now)
        self.want()

    def _seed(self) -> int:
        """What the draws of this session's controller begin with."""
        return int.from_bytes(self._dice[4:8], "big")

    def test_marks(self, now: int) -> None:
        """Finds out whether the path keeps ECN marks, where there is a use for them."""
        if self.config.ecn and self.controller.uses_ecn():
            self.ecn.start(self.ring.next, now + ECN_TIMEOUTS * self.rtt.probe_timeout(self.peer_ack_delay_ns))

    def rebound(self, path: Path, now: int) -> None:
        """This side itself has another address: the peer has to hear from there, under an id that was not used yet."""
        if self.life >= OPEN:
            ids.switch(self)
            ids.give(self)
            self._is_ping_due = True
        if self.life < OPEN or paths.is_same_host(path.local, self.path.local):
            self.take_path(path, now)
        else:
            self.change_path(path, now)
        self.want()

    def is_acked_from(self, number: int) -> bool:
        """Whether a packet from `number` on has been acknowledged."""
        return self._largest_acked >= number

    def path_secret(self) -> bytes:
        """What the challenges of this session follow from."""
        return hashlib.blake2s(self._dice, person=b"paths").digest()

    def write_probe(self, room: memoryview, frame: bytes, size: int, path: Path, cid: int, now: int) -> int:
        """Writes a datagram of `size` bytes with one frame, which asks for no ack, to the peer's `cid`; it leaves by
        `path`.
        """
        while self.ring.is_over():  # however many challenges come from a peer that acknowledges nothing
            self._make_room(now)
        number = self.ring.next
        packet = self.ring.push()
        number_bytes = pen.low_size(limits.RUDP_LATE_FLIGHTS * (number - self._largest_acked))
        pos = 9 + number_bytes
        pos = pen.put_bytes(room, pos, frame, 0, len(frame))
        pos = pen.put_zeros(room, pos, max(0, size - pos - (CHECKSUM_BYTES if self.checksum_kind else 0)))
        flags = FIXED_BIT | (number_bytes - 1)
        used = self.peer_cid
        self.peer_cid = cid
        self.segment = self._finish_packet(room, 0, pos, number, number_bytes, flags, packet, False, now)
        self.peer_cid = used
        self.detour = path
        return self.segment

    # Frames

    def on_path_frame(self, kind: int, data: bytes, pos: int, end: int, now: int) -> int:
        """See `Incoming`. What is done about a challenge or its answer depends on where the packet came from."""
        if kind == RETIRE_CID:
            ids.retired(self, self._number(data, pos, end), now)
            return self._number_end
        if kind == NEW_CID:
            return self._read_new_cid(data, pos, end)
        if end - pos < CHALLENGE_BYTES:
            raise RemoteProtocolError("a frame is cut off")
        token = pen.take(data, pos, pos + CHALLENGE_BYTES)
        if not self._has_words:
            self._challenge = self._response = b""  # of a packet that there was no room for
        if kind == PATH_CHALLENGE:
            self._challenge = token  # one of each in a packet, the last, is enough
        else:
            self._response = token
        self._has_words = True
        return pos + CHALLENGE_BYTES

    def path_words(self) -> tuple[bytes, bytes]:
        """Challenge and answer of the packet that is being read, b"" for none; they are given once."""
        found = (self._challenge, self._response)
        self._challenge = self._response = b""
        self._has_words = False
        return found

    def _read_new_cid(self, data: bytes, pos: int, end: int) -> int:
        """A client's peer gives a token with each id."""
        number = self._number(data, pos, end)
        floor = self._number(data, self._number_end, end)
        pos = self._number_end
        size = CID_BYTES + (TOKEN_BYTES if self.is_client else 0)
        if size > end - pos:
            raise RemoteProtocolError("a frame is cut off")
        ids.came(self, number, floor, pen.u64(data, pos), pen.take(data, pos + CID_BYTES, pos + size))
        return pos + size

    def put_ids(self, room: memoryview, pos: int, end: int, packet: SentPacket) -> int:
        """See `Sending`."""
        return ids.put(self, room, pos, end, packet)

    def id_settled(self, item: Item, is_lost: bool) -> None:
        """See `Recovery`."""
        ids.settled(self, item, is_lost)

    def on_round(self, now: int) -> None:
        """See `Recovery`."""
        if 0 < self.ids_at <= now:
            ids.give(self)
