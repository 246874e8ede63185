"""What a datagram driver asks of a machine that serves many peers on one socket.

`Endpoint` is a `DatagramMachine` whose sessions have an owner each; raw UDP and the reliability layer are such. It
keeps three lists for the driver: who is new, who has something to tell, and from whom something was sent. A base
class and not a protocol, because the driver looks at it several times for every wake-up.
It must never know a driver: what one hangs on a session is in `seat` and opaque here.
"""

from __future__ import annotations

from typing import Any

from transport.machine import Path, Transmit
from transport.session import MessageSession

NOWHERE = Path(None, None)
OPEN_OR_OPENING = 1  # the highest SessionState of a session that may still get an owner


class PeerSession(MessageSession):
    """A session of one peer address.

    Attributes:
        path: the peer's address, and ours towards it.
        stamp: the kernel's time of the last datagram received (CLOCK_REALTIME, ns), where that is asked for.
        seat: belongs to the driver.
        is_ready, is_flushed, next_ready, next_flushed: the endpoint's, where it is in its lists.
    """

    def __init__(self, path: Path) -> None:
        MessageSession.__init__(self)
        self.path = path
        self.stamp = 0
        self.seat: Any = None
        self.is_ready = False
        self.is_flushed = False
        self.next_ready: PeerSession | None = None
        self.next_flushed: PeerSession | None = None


class Endpoint:
    """A machine of many sessions on one socket.

    Attributes:
        pressing: so much is queued that a driver should send now and not at the end of its tick.
        is_troubled: a client hears nothing; perhaps its own address is no good any more. Set by time-outs alone.
        stamp: set by the socket, the kernel's time of what `receive` is then called with.
        is_exclusive: it has one owner, and who pauses that stops the socket.
        fresh_sessions: see `take_fresh`.
        first_ready, first_flushed: see `take_ready` and `take_flushed`.
        single_path: see `single`.
    """

    def __init__(self) -> None:
        self.pressing = False
        self.is_troubled = False
        self.stamp = 0
        self.is_exclusive = False
        self.fresh_sessions: list[PeerSession] = []
        self.single_path: Any = None
        self.first_ready: PeerSession | None = None  # lists through the sessions: a Python list costs an
        self._last_ready: PeerSession | None = None  # allocation and more for every wake-up
        self.first_flushed: PeerSession | None = None
        self._last_flushed: PeerSession | None = None

    # For the driver

    def sole_ready(self) -> PeerSession | None:
        """What `take_ready` and `after_ready` give, in one step, where only one session is in the list; else None."""
        first = self.first_ready
        if first is None or first.next_ready is not None:
            return None
        self.first_ready = self._last_ready = None
        first.is_ready = False
        return first

    def take_fresh(self) -> list[PeerSession]:
        """Sessions of new peers since the last call, those left out that have ended already. Each needs an owner."""
        fresh = self.fresh_sessions
        self.fresh_sessions = []
        return [session for session in fresh if session.state <= OPEN_OR_OPENING]

    def take_ready(self) -> PeerSession | None:
        """The first of the sessions with messages or events since the last call; see `after_ready`."""
        first = self.first_ready
        self.first_ready = self._last_ready = None
        return first

    def after_ready(self, session: PeerSession) -> PeerSession | None:
        """The session behind `session` in what `take_ready` gave; from now on `session` may be listed anew."""
        following = session.next_ready
        session.next_ready = None
        session.is_ready = False
        return following

    def take_flushed(self) -> PeerSession | None:
        """The first of the sessions that something was sent from since the last call; see `after_flushed`."""
        first = self.first_flushed
        self.first_flushed = self._last_flushed = None
        return first

    def after_flushed(self, session: PeerSession) -> PeerSession | None:
        """The session behind `session` in what `take_flushed` gave; from now on `session` may be listed anew."""
        following = session.next_flushed
        session.next_flushed = None
        session.is_flushed = False
        return following

    def lingers_for(self, now: int) -> int:
        """Nanoseconds for which a socket without owners should still be read: a goodbye may have to be said again.

        It is then asked to `fill` after each `receive`, and not to `expire`.
        """
        return 0

    # For whoever implements one

    def ready(self, session: PeerSession) -> None:
        """`session` has messages or events for its owner."""
        if session.is_ready:
            return
        session.is_ready = True
        if self._last_ready is None:
            self.first_ready = session
        else:
            self._last_ready.next_ready = session
        self._last_ready = session

    def flushed(self, session: PeerSession) -> None:
        """Something of `session` has been handed out for sending, or acknowledged; who waits for it will be told."""
        if session.is_flushed or not session.is_awaited:
            return
        session.is_flushed = True
        if self._last_flushed is None:
            self.first_flushed = session
        else:
            self._last_flushed.next_flushed = session
        self._last_flushed = session

    # To be implemented

    def forget(self, session: PeerSession) -> None:
        """Nobody wants `session` any more, or it has ended: it is no longer found by its path."""
        raise NotImplementedError

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        """As in `DatagramMachine`."""
        raise NotImplementedError

    def receive_many(self, payloads: list[bytes], path: Path, ecn: int, now: int) -> None:
        """`receive` for consecutive datagrams of one path; the list is the machine's from now on."""
        for payload in payloads:
            self.receive(payload, path, ecn, now)

    def receive_one(self, payload: bytes, path: Path, ecn: int, now: int) -> None:
        """`receive_many` for a single datagram."""
        self.receive_many([payload], path, ecn, now)

    def error(self, path: Path, errno: int, now: int) -> None:
        """As in `DatagramMachine`."""
        raise NotImplementedError

    def fill(self, item: Transmit, room: memoryview, now: int) -> bool:
        """`transmit` into a `Transmit` that is there already; False when there is nothing to send."""
        raise NotImplementedError

    def single(self) -> bytes | None:
        """The datagram that is all there is to send, left where it is; `single_path` says where to. Else None.

        Who has sent it says so by `single_sent`; who could not asks `fill`, as always.
        """
        return None

    def single_sent(self, now: int) -> None:
        """What `single` gave was sent: books what `fill` would have."""
        raise NotImplementedError

    def transmit(self, room: memoryview, now: int) -> Transmit | None:
        """As in `DatagramMachine`; a driver calls `fill`."""
        item = Transmit(0, 0, NOWHERE)
        return item if self.fill(item, room, now) else None

    def events(self) -> list[Any]:
        """Nothing: what happens happens to a session, see `take_ready`."""
        return []

    def due(self) -> int:
        """When to call `expire`, in nanoseconds; 0 for never."""
        raise NotImplementedError

    def deadline(self) -> int | None:
        """As in `DatagramMachine`; a driver asks `due`."""
        return self.due() or None

    def expire(self, now: int) -> None:
        """As in `DatagramMachine`."""
        raise NotImplementedError

    def statistics(self) -> dict[str, int]:
        """Counters of the socket as a whole."""
        return {}
