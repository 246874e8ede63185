"""Pipes between two ends of one event loop: bytes move by a callback, or over simulated links in the loop's time.

`MemoryHub` is what all ends on a loop share: names, what is in the air, and the one timer for it. `MemoryDriver` is an
end of a byte pipe. It must never lose or reorder bytes, and never hold more than a window of them.
"""

from __future__ import annotations

import asyncio
import errno
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from transport import limits
from transport.codec import memory
from transport.drive.base import Owner
from transport.drive.stream import StreamDriver
from transport.drive.timers import timers_of
from transport.sim.config import LinkConfig
from transport.sim.link import Flight, Link

PIECE_BYTES = limits.RECEIVE_BEFORE_TRANSMIT_BYTES
SEGMENT_BYTES = limits.MEMORY_SEGMENT_BYTES
ARRIVES = 0  # `trace.Fate`


class MemoryHub:
    """The shared part of all memory pipes of one loop. Get it with `hub_of`; it lives while it is used.

    Attributes:
        now: the loop's clock, in nanoseconds.
        flight: what is in the air, on all links.
        names: listeners by name.
        trace: the loop's, where it keeps one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.flight = Flight()
        self.names: dict[str, Any] = {}
        self.trace = getattr(loop, "trace", None)
        self.armed_at = 0
        self._timers = timers_of(loop)
        self.now: Callable[[], int] = self._timers.now
        self._users = 0
        self._links = 0
        self._pumping = False

    def acquire(self) -> None:
        """One more end or listener uses the hub."""
        self._users += 1
        if self._users == 1:
            self._timers.acquire()

    def release(self) -> None:
        """One less; with the last one the hub goes."""
        self._users -= 1
        if not self._users:
            self._timers.disarm(self)
            self._timers.release()
            if _hubs.get(self.loop) is self:
                del _hubs[self.loop]

    def link(self, name: tuple[Any, Any], config: LinkConfig, seed: int) -> Link:
        """A new link; its schedules count from now."""
        self._links += 1
        if self.trace is not None:
            self.trace.note(self.now(), f"link {self._links} from {name[0]!r} to {name[1]!r}")
        return Link(self._links, name, config, seed, self.now(), self.flight, self.trace)

    def arm(self) -> None:
        """Something was put in the air."""
        if not self._pumping:
            due = self.flight.next_time()
            if due >= 0 and (self.armed_at == 0 or due < self.armed_at):
                self._timers.arm(self, due)

    def timer_fired(self, now: int) -> None:
        """What has arrived goes to its ends, all that is due at once; then each end takes it in."""
        self._pumping = True
        touched: list[Any] = []
        while True:
            entry = self.flight.pop(now)
            if entry is None:
                break
            link, end = entry.link, entry.target
            if link is None:
                self._call(entry.action)
            elif end.arrive(entry.data, entry.ecn, entry.source):
                link.arrived += 1
                link.arrived_bytes += len(entry.data)
                if not touched or touched[-1] is not end:
                    touched.append(end)
            else:
                link.unreachable += 1
        for end in touched:
            self._call(end.arrived)
        self._pumping = False
        self.arm()

    def _call(self, action: Callable[[], object]) -> None:
        """One end's mistake must not keep from the others what is theirs."""
        try:
            action()
        except Exception as error:
            self.loop.call_exception_handler({"message": "an end of a memory pipe failed", "exception": error})


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, MemoryHub] = weakref.WeakKeyDictionary()


def hub_in_use(loop: asyncio.AbstractEventLoop) -> MemoryHub | None:
    """The hub of `loop`, if anybody has one there."""
    return _hubs.get(loop)


def hub_of(loop: asyncio.AbstractEventLoop) -> MemoryHub:
    """The hub of `loop`, made at first use; whoever makes it has to `acquire` it."""
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = MemoryHub(loop)
    return hub


class MemoryDriver(StreamDriver):
    """One end of a byte pipe. `join` makes two ends a pipe.

    Attributes:
        address: its name, (name of the server, number).
        link: the simulated link towards the peer, or None where a write is at the peer in the loop's next turn.
        on_close: called once, when this end closes.
    """

    def __init__(self, hub: MemoryHub, machine: Any, address: Any, window: int) -> None:
        StreamDriver.__init__(self, hub.loop, machine)
        self.hub = hub
        self.address = address
        self.link: Link | None = None
        self.on_close: Callable[[], object] | None = None
        self._peer: Any = None
        self._window = window
        self._inbox: deque[bytes] = deque()
        self._unread = 0  # bytes on their way to this end and not yet given to its machine
        self._coming = False
        self._peer_gone = False
        self._retrying = False
        self._eof_asked = False
        self._eof_left = False
        hub.acquire()

    # Out

    def _write(self) -> bool:
        if self._peer_gone:
            self._write_failed()
            return False
        pending = self._pending
        if self.link is None and self.unsent_bytes <= PIECE_BYTES and self._room() >= self.unsent_bytes:
            data = pending[0]
            if len(pending) > 1 or self._offset or type(data) is not bytes:
                data = self._joined()
            self._hand_over(data)
            return self._sent(len(data))
        if len(pending) > 1 or type(pending[0]) is not bytes:
            self._pending = pending = [self._joined()]
            self._offset = 0
        whole = pending[0]
        start = first = self._offset
        size = len(whole)
        while start < size:
            piece = min(size - start, self._room())
            if piece <= 0:
                break
            self._hand_over(memory.cut(whole, start, start + piece))
            start += piece
        if self._ended:
            return False
        if start > first and self._sent(start - first):
            return True
        self._blocked = True
        self._retry_later()
        return False

    def _joined(self) -> bytes:
        """What is pending, in one piece."""
        whole = b"".join(self._pending)
        return memory.cut(whole, self._offset, len(whole)) if self._offset else whole

    def _room(self) -> int:
        """How much the pipe takes now, in one piece."""
        room: int = min(self._window - self._peer._unread, PIECE_BYTES)
        link = self.link
        if link is None or room <= 0:
            return room
        now = self.hub.now()
        if link.opens_at(now) != now:
            return 0
        config = link.config
        if config.rate_bits_per_s:
            room = min(room, config.queue_bytes - config.overhead_bytes - link.queued_bytes(now), SEGMENT_BYTES)
        return room

    def _hand_over(self, data: bytes) -> None:
        peer = self._peer
        peer._unread += len(data)
        if self.link is None:
            if peer.arrive(data, 0, self.address):
                peer.come()
            if self.hub.trace is not None:
                self.hub.trace.datagram(ARRIVES, 0, self.hub.now(), data, 0)
            return
        if self.link.send(data, 0, self.hub.now(), self.address, peer) != ARRIVES:
            peer._unread -= len(data)
            self.fail(OSError(errno.EIO, "the simulated link of a byte pipe lost data"))
        self.hub.arm()

    def _retry_later(self) -> None:
        """The end of a blackout is not told by anything that arrives."""
        if self.link is not None and not self._retrying:
            opens = self._opens()
            if opens:
                self._retrying = True
                self.hub.flight.act(opens, self._retry)
                self.hub.arm()

    def _retry(self) -> None:
        self._retrying = False
        if self._blocked and not self._ended:
            self.writable()

    def _opens(self) -> int:
        """When the link is worth another look, or 0 when no blackout is on it."""
        now: int = self.hub.now()
        assert self.link is not None
        opens = self.link.opens_at(now)
        if opens == now:
            return 0
        return opens if opens > now else now + limits.MEMORY_RETRY_NS

    def _half_close(self) -> None:
        self._eof_asked = True
        if self.link is not None:
            opens = self._opens()
            if opens:
                self.hub.flight.act(opens, self._half_close)
                self.hub.arm()
                return
        self._eof_left = True
        self._hand_over(b"")
        if self._ended:
            self._leave()

    def _write_failed(self) -> None:
        """The peer is gone; what it said before may still be there to read."""
        while self._inbox:
            data = self._inbox.popleft()
            if data:
                self.machine.receive(data, self.now())
        self.owner.deliver()
        self.fail(BrokenPipeError(errno.EPIPE, "the peer has closed the pipe"))

    # In

    def arrive(self, data: bytes, ecn: int, source: Any) -> bool:
        """Something is there; False when this end is not, any more."""
        if self._ended:
            return False
        self._inbox.append(data)
        return True

    def come(self) -> None:
        """Has what is there taken in, in the loop's next turn."""
        if not self._coming and self._reading:
            self._coming = True
            self.loop.call_soon(self._take_in)

    def _take_in(self) -> None:
        self._coming = False
        self.arrived()

    def arrived(self) -> None:
        """Takes in what is there, as much as one read would."""
        if not self._reading or self._ended or not self._inbox:
            return
        inbox = self._inbox
        data = inbox.popleft()
        if inbox and data:
            data = self._gather(data)
        self.feed(data)
        self._unread -= len(data)
        peer = self._peer
        if peer._blocked and not peer._ended and self._unread <= peer._window >> 1:
            peer.writable()
        if inbox:
            self.come()

    def _gather(self, data: bytes) -> bytes:
        """`data` and what came behind it, up to the size of one read and not past the end of the stream."""
        parts = [data]
        size = len(data)
        while self._inbox and self._inbox[0] and size + len(self._inbox[0]) <= PIECE_BYTES:
            part = self._inbox.popleft()
            parts.append(part)
            size += len(part)
        return b"".join(parts)

    def _read_on(self) -> None:
        if self._inbox:
            self.come()

    def _read_off(self) -> None:
        """Nothing to do: what comes stays in the inbox."""

    # The end

    def _close(self) -> None:
        self._inbox.clear()
        peer = self._peer
        if peer is not None and not peer._ended:
            if self._eof_left:
                self._leave()
            elif not self._eof_asked:
                self._half_close()
        if self.on_close is not None:
            self.on_close()
            self.on_close = None
        self.hub.release()

    def _leave(self) -> None:
        """Tells the peer that nobody reads any more, behind the end of the stream."""
        if self.link is None:
            self.loop.call_soon(self._peer.abandoned)
        else:
            self.hub.flight.act(max(self.link.latest_in_order, self.hub.now()), self._peer.abandoned)
            self.hub.arm()

    def abandoned(self) -> None:
        """The peer's end is closed: what is written from now on reaches nobody."""
        self._peer_gone = True
        if self._blocked and not self._ended:
            self._blocked = False
            self.flush()

    def info(self, owner: Owner, name: str) -> Any:
        """sockname, peername; link: counters of the simulated link towards the peer, where there is one."""
        if name == "sockname":
            return self.address
        if name == "peername":
            return None if self._peer is None else self._peer.address
        if name == "link" and self.link is not None:
            return self.link.statistics()
        return None


def join(one: MemoryDriver, other: MemoryDriver, config: LinkConfig, seed: int) -> None:
    """Makes two ends a pipe; with links where the configuration asks for anything."""
    one._peer = other
    other._peer = one
    if config.delay_ns or config.jitter_ns or config.rate_bits_per_s or config.down or config.blackouts:
        one.link = one.hub.link((one.address, other.address), config, seed)
        other.link = one.hub.link((other.address, one.address), config, seed)
