"""How large the packets of a path may be, found by trying (RFC 8899): which size to try next, and what its fate means.

Only a connection that fills its packets has a use for larger ones, so nothing is tried before it does, and none of it
has a timer. The first try is what most paths carry; above it, the larger the congestion window the larger the step, so
that a fast path takes few; below one that failed, the middle. It must never know what a packet or a socket is, nor name
a size that the peer does not take.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.states import COMPLETE, DOUBTING, SEARCH, SEARCHING, Tried

BASE = limits.RUDP_DATAGRAM_BYTES_MIN  # BASE_PLPMTU, RFC 8899 section 5.1.2
FIRST = 1472  # Ethernet's 1,500 less the headers of IPv4 and UDP
SIZES = (BASE, 1280, 1380, 1420, 1452, FIRST, 4096, 8952, 16_384, limits.RUDP_DATAGRAM_BYTES_MAX)
"""What is tried: IPv6's least, common tunnels, Ethernet under IPv6 and IPv4, jumbo frames, loopback."""
TRIES = limits.RUDP_MTU_TRIES  # MAX_PROBES
RAISE_NS = limits.RUDP_MTU_RAISE_NS  # PMTU_RAISE_TIMER
WAIT_NS = limits.RUDP_MTU_WAIT_NS
NEVER = 1 << 62


class MtuSearch:
    """The search of one path.

    Args:
        size: what its packets are filled to at first, known to be carried; `BASE` at least.
        most: nothing larger is tried.

    Attributes:
        phase: a state of `states.Search`.
        size: what the path is known to carry.
        due: when the next probe may leave (ns), if there is a use for it; `NEVER` while one is on its way, or where
            nothing is left to search.
        number: of the packet that is the probe on its way, -1 for none.
        sent, lost, holes: probes that left, those that were lost, and how often the path was found to carry less than
            before.
    """

    def __init__(self, size: int, most: int) -> None:
        self.phase: int = SEARCHING
        self.size = size
        self.most = max(size, most)
        self.due = 0 if self.most > BASE else NEVER
        self.number = -1
        self.sent = 0
        self.lost = 0
        self.holes = 0
        self._candidate = 0  # size that is being tried
        self._tries = 0  # of which were lost
        self._failed = NEVER  # the least size that is known to fail
        self._forget_at = NEVER  # when that is forgotten
        self._since = 0  # probes with lower numbers are of another search

    def next_size(self, window: int, now: int) -> int:
        """The size of the probe that should leave now; 0 for none.

        Args:
            window: bytes that may be in flight. A probe has at most half of it: larger packets would leave too few in
                flight to notice a loss by, and on a slow link each would hold up all others.
            now: the present (ns).
        """
        if now < self.due:
            return 0
        if now >= self._forget_at:
            self._failed = self._forget_at = NEVER
            if self.phase == COMPLETE:
                self.phase = SEARCH.after(self.phase, Tried.RAISE)
        reach = max(window >> 1, FIRST)
        if self._candidate > reach and self.phase != DOUBTING:  # the window has shrunk
            self._candidate = self._tries = 0
        if not self._candidate:
            self._choose(reach, now)
        return self._candidate

    def _choose(self, reach: int, now: int) -> None:
        if self.size < FIRST < self._failed:
            reach = FIRST
        count = 0
        within = 0
        for size in SIZES:
            if self.size < size < self._failed and size <= self.most:
                count += 1
                if size <= reach:
                    within += 1
        if not count:
            self.phase = SEARCH.after(self.phase, Tried.EXHAUSTED)
            self.due = self._forget_at
        elif not within:
            self.due = now + WAIT_NS  # the window may have grown by then
        else:
            index = within - 1 if self._failed == NEVER else min(count >> 1, within - 1)
            self._candidate = [size for size in SIZES if size > self.size][index]

    def on_sent(self, number: int) -> None:
        """The probe that was asked for leaves as packet `number`."""
        self.number = number
        self.sent += 1
        self.due = NEVER

    def on_acked(self, number: int, size: int) -> bool:
        """Probe `number` of `size` bytes has arrived, even if it counted as lost; whether `size` is news."""
        if number == self.number:
            self.number = -1
            self.due = 0  # also if a larger one has arrived meanwhile that was believed lost
        if number < self._since or size <= self.size:
            return False
        self.phase = SEARCH.after(self.phase, Tried.ARRIVED)
        self.size = size
        if size >= self._failed:
            self._failed = self._forget_at = NEVER
        self._anew()
        return True

    def on_lost(self, number: int, size: int, now: int, pause: int) -> bool:
        """Probe `number` of `size` bytes is lost; whether that proves that a size fails which once arrived.

        Args:
            number, size: the probe.
            now: the present (ns).
            pause: ns until the next, so that what loses one for another reason does not lose all tries of a size.
        """
        self.lost += 1
        if number == self.number:
            self.number = -1
            self.due = now + pause
        if number < self._since or size != self._candidate:
            return False
        self._tries += 1
        if self._tries < TRIES:
            return False
        was_carried = self.phase == DOUBTING
        self.phase = SEARCH.after(self.phase, Tried.FAILED)
        if was_carried:
            self.holes += 1
        self._failed = size
        self._forget_at = now + RAISE_NS
        self._candidate = 0
        self._tries = 0
        return was_carried

    def hurry(self, now: int) -> None:
        """No pause before the next probe."""
        self.due = min(self.due, now)

    def doubt(self, following: int) -> None:
        """What the path carried does not arrive any more: back to `BASE` at once, and that size is tried again first.

        Args:
            following: the next packet number.
        """
        candidate = self.size
        self.phase = SEARCH.after(self.phase, Tried.HOLE)
        self.size = BASE
        self._since = following
        self.number = -1
        self._anew()
        self._candidate = candidate

    def move(self, following: int) -> None:
        """The path is another one, of which nothing is known. `following` is the next packet number."""
        self.phase = SEARCH.after(self.phase, Tried.MOVED)
        self.size = BASE
        self._since = following
        self.number = -1
        self._failed = self._forget_at = NEVER
        self._anew()

    def _anew(self) -> None:
        """Another size is next, at once."""
        self._candidate = 0
        self._tries = 0
        if self.number < 0:
            self.due = 0 if self.most > BASE else NEVER
