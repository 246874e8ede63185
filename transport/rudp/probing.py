"""Probes for larger packets, and what happens when those that went no longer do: a session's part of the MTU search.

A probe is PING and PADs, alone in its send, so that nothing depends on it and its loss costs nobody anything; it is no
sign of congestion either. Data is never sent in packets larger than what has arrived before.
"""

from __future__ import annotations

from transport import limits
from transport.machine import Path
from transport.rudp import pen
from transport.rudp.config import RudpConfig
from transport.rudp.congestion.base import Controller
from transport.rudp.kinds import FIXED_BIT, PROBE
from transport.rudp.mtu import MtuSearch
from transport.rudp.sending import Sending
from transport.rudp.sent import Item, SentPacket
from transport.rudp.states import DOUBTING, LOST, OPEN, SENT
from transport.rudp.turns import Exchange

BASE = limits.RUDP_DATAGRAM_BYTES_MIN
BLACK_HOLE_PACKETS = limits.RUDP_BLACK_HOLE_PACKETS
CHECKSUM_BYTES = 4
PING_FRAME = 1
LATE_FLIGHTS = limits.RUDP_LATE_FLIGHTS


class Probing(Sending):
    """Packets that try how large a packet may be.

    Attributes:
        probed_path: the path that its endpoint knows it by, for errors of the system; None before the first probe.
    """

    def __init__(
        self, exchange: Exchange, config: RudpConfig, path: Path, own_cid: int, controller: Controller
    ) -> None:
        Sending.__init__(self, exchange, config, path, own_cid, controller)
        self.probed_path: Path | None = None
        self._large_acked = -1  # the highest number of a packet over BASE bytes that arrived
        self._large_lost = -1  # and of one that was lost
        self._holes = 0  # how many were, in a row

    def set_path_limits(self, most: int) -> None:
        """The peer takes datagrams of up to `most` bytes."""
        size = min(self.config.mtu, most)
        self.search = MtuSearch(size, min(self.config.mtu_max, most))
        self.mtu = size
        self.controller.set_mss(size)

    def fill_probe(self, room: memoryview, now: int) -> int:
        """Writes the probe that is due, its size to `segment`; returns it, or -1 where none may leave now.

        It may go beyond the window by itself, else a sender that fills the window would never have room for it.
        """
        self.wants_probe = False
        window = self.controller.window
        if self.life != OPEN or self._probes or self.in_flight > window or self.ring.is_full():
            return -1
        size = self.search.next_size(window, now)
        if not size or size > pen.check(room):
            return -1
        number = self.ring.next
        packet = self.ring.push()
        packet.add(Item(PROBE, None, size, number))
        number_bytes = pen.low_size(LATE_FLIGHTS * (number - self._largest_acked))
        end = size - (CHECKSUM_BYTES if self.checksum_kind else 0)
        pos = pen.put8(room, 9 + number_bytes, PING_FRAME)
        pos = pen.put_zeros(room, pos, end - pos)
        self.search.on_sent(number)
        self.exchange.probes(self)
        flags = FIXED_BIT | (number_bytes - 1)
        self.segment = self._finish_packet(room, 0, pos, number, number_bytes, flags, packet, True, now)
        return self.segment

    def is_search(self, packet: SentPacket) -> bool:
        """Whether a packet is a probe of the search."""
        return packet.item is not None and packet.item.kind == PROBE

    def _probe_acked(self, number: int, size: int) -> None:
        if self.search.on_acked(number, size):
            self._resize()

    def _probe_lost(self, number: int, size: int, now: int, pause: int) -> None:
        if self.search.phase == DOUBTING and self._is_in_burst(number):
            size = -1  # of another size: it says nothing of this one
        if self.search.on_lost(number, size, now, pause):
            self._resize()

    def _is_in_burst(self, number: int) -> bool:
        """Whether what was sent right before and after a lost packet is lost as well: then not its size did it."""
        ring = self.ring
        if number <= ring.oldest or number >= self._largest_acked:
            return False
        before, after = ring.get(number - 1).state, ring.get(number + 1).state
        return (before == SENT or before == LOST) and (after == SENT or after == LOST)

    def _try_again(self, now: int) -> None:
        """The next probe may leave at once, for it was not the network that lost the last."""
        self.search.hurry(now)
        self.wants_probe = True
        self.want()

    def _resize(self) -> None:
        """Packets are filled to what the search knows."""
        self.mtu = self.search.size
        self.controller.set_mss(self.mtu)

    def _on_large_lost(self, number: int) -> None:
        """A packet over BASE bytes is lost. Looks for a black hole: such packets vanish, and smaller ones arrive.

        What was sent later has arrived, for by that a loss is known, and what is sent after a probe time-out has at
        most BASE bytes. If none of it was large, a few such losses in a row are enough (RFC 8899 section 4.3).
        """
        if number < self._large_acked:
            return
        if self._large_acked > self._large_lost:
            self._holes = 0
        self._large_lost = number
        self._holes += 1
        if self._holes >= BLACK_HOLE_PACKETS and self.mtu > BASE:
            self._doubt()

    def _doubt(self) -> None:
        """Back to BASE at once. The controller hears of it when it is certain: most often it is not so, and it would
        forget what it needs to undo a cut.
        """
        self._holes = 0
        self.search.doubt(self.ring.next)
        self.mtu = BASE
        self.wants_probe = True
        self.want()

    def forget_mtu(self) -> None:
        """Nothing is known of the path any more."""
        self._holes = 0
        self.search.move(self.ring.next)
        self._resize()
